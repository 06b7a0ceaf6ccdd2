//! One report, for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gantry_sys::process::own_executable;
use serde_json::{Value, json};

use super::symbols::{CodeFile, Place, Symbols, Unnamed};
use super::{text, time};
use crate::table::{bytes, milliseconds};

/// Gives every frame of a report's stack its `symbol` and its `places` (function, file and line, inlined ones first), and
/// every module whose frames get none a `without_symbols` that says why.
pub(crate) fn name_frames(report: &mut Value, libraries: &Path) {
    let Some(stack) = report["stack"].as_object_mut() else { return };
    let mut files = BTreeMap::new();
    for module in stack.get_mut("modules").and_then(Value::as_array_mut).into_iter().flatten() {
        let path = module["path"].as_str().unwrap_or_default().to_owned();
        let opened = open(&path, module["build"].as_str().unwrap_or_default(), libraries);
        if let Err(why) = &opened {
            module["without_symbols"] = json!(why.text());
        }
        files.extend(opened.map(|file| (path, file)));
    }
    let symbols: BTreeMap<&str, Symbols<'_>> =
        files.iter().filter_map(|(path, file)| Some((path.as_str(), file.symbols()?))).collect();
    for frame in stack.get_mut("frames").and_then(Value::as_array_mut).into_iter().flatten() {
        let offset = frame["offset"].as_str().and_then(|offset| offset.strip_prefix("0x"));
        let offset = offset.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let known = frame["module"].as_str().and_then(|module| symbols.get(module));
        let (Some(offset), Some(known)) = (offset, known) else { continue };
        let places = known.at(offset);
        frame["symbol"] = json!(places.last().map(|outermost| &outermost.function));
        let place = |place: &Place| json!({ "function": place.function, "at": place.at });
        frame["places"] = places.iter().map(place).collect();
    }
}

/// The file that a module was: where it was loaded from, or a deployed library of that name in our own state folder, or
/// this very program after it was moved.
fn open(path: &str, build: &str, libraries: &Path) -> Result<CodeFile, Unnamed> {
    let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(path));
    let deployed = path.file_name().map(|name| libraries.join(name));
    let candidates: [Option<PathBuf>; 3] = [deployed.clone(), Some(path.to_owned()), own_executable().ok()];
    let mut why = Unnamed::NoFile;
    for candidate in candidates.into_iter().flatten() {
        let is_by_content = Some(&candidate) == deployed.as_ref();
        match CodeFile::open(&candidate, build, is_by_content) {
            Ok(file) => return Ok(file),
            // That another file differs says nothing of the one that is meant.
            Err(error) if candidate == path || is_by_content && error != Unnamed::NoFile => why = error,
            Err(_) => {}
        }
    }
    Err(why)
}

/// The report as text.
pub(crate) fn words(name: &str, report: &Value) -> String {
    let mut out = format!("report {name}\n");
    let mut line = |label: &str, words: Option<String>| {
        if let Some(words) = words {
            // What has several lines stays in its column.
            out += &format!("  {label:<10} {}\n", words.trim_end().replace('\n', "\n             "));
        }
    };
    line("time", report["at_ms"].as_i64().and_then(time));
    line("why", text(&report["why_text"]));
    line("process", Some(process(report)));
    line("service", service(report));
    line("request", request(&report["request"]));
    line("statement", Some(statement(&report["statement"])));
    out + &stack(report)
}

fn process(report: &Value) -> String {
    let queue = text(&report["queue"]).map_or_else(String::new, |queue| format!(" ({queue})"));
    format!(
        "{}{queue}, pid {}, row {}, life {}; {}",
        text(&report["role"]).unwrap_or_default(),
        report["pid"],
        report["row"],
        report["epoch"],
        text(&report["exit"]).unwrap_or_default()
    )
}

fn service(report: &Value) -> Option<String> {
    let number = text(&report["service"])?;
    let library = text(&report["library"]).map_or_else(String::new, |library| format!(" of {library}"));
    let version = text(&report["version"]).unwrap_or_else(|| "(version not known)".to_owned());
    let ran =
        report["ran_ms"].as_u64().map_or_else(String::new, |ran| format!(", ran for {}", milliseconds(ran)));
    let limit = report["request"]["timeout_ms"].as_u64();
    let limit = limit.map_or_else(String::new, |limit| format!("; its time-out is {}", milliseconds(limit)));
    Some(format!("{number}{library} {version}{ran}{limit}"))
}

fn request(request: &Value) -> Option<String> {
    let figure = |key: &str| request[key].as_u64();
    let id = text(&request["id"]).unwrap_or_else(|| "(id damaged)".to_owned());
    let caller = text(&request["caller"])?;
    let kind = text(&request["kind"]).unwrap_or_default();
    let arrived = request["arrived_at_ms"].as_i64().and_then(time).unwrap_or_default();
    Some(format!(
        "{id} of {caller}: {kind}, body of {}, attempt {}\narrived {arrived}, to be answered within {}",
        bytes(figure("body_bytes").unwrap_or(0)),
        figure("attempt").unwrap_or(0) + 1,
        milliseconds(figure("budget_ms").unwrap_or(0)),
    ))
}

fn statement(statement: &Value) -> String {
    let Some(words) = text(&statement["text"]) else { return "none was running".to_owned() };
    let whole = statement["bytes"].as_u64().unwrap_or(0);
    let cut =
        if statement["is_cut"] == true { format!("\n(cut; {} in all)", bytes(whole)) } else { String::new() };
    format!(
        "on \"{}\" for {}:\n{words}{cut}",
        text(&statement["source"]).unwrap_or_default(),
        milliseconds(statement["ran_ms"].as_u64().unwrap_or(0))
    )
}

fn stack(report: &Value) -> String {
    let stack = &report["stack"];
    let Some(frames) = stack["frames"].as_array() else {
        return format!("  {:<10} none: {}\n", "stack", text(&report["stack_missing"]).unwrap_or_default());
    };
    let end = match stack["end"].as_str() {
        Some("whole") => "",
        Some("cut") => "; its outer part is left out",
        _ => "; the process could not walk all of it",
    };
    let by = text(&stack["noted_by"]).unwrap_or_default();
    let mut out = format!("  {:<10} innermost first, noted at {by}{end}\n", "stack");
    for (index, frame) in frames.iter().enumerate() {
        out += &frame_words(index, frame);
    }
    for module in stack["modules"].as_array().into_iter().flatten() {
        if let Some(why) = text(&module["without_symbols"]) {
            out += &format!("  {}: {why}\n", text(&module["path"]).unwrap_or_default());
        }
    }
    out
}

/// Bytes of a function's name that are shown; those of generic functions can take pages.
const NAME_BYTES_SHOWN: usize = 120;

fn frame_words(index: usize, frame: &Value) -> String {
    let offset = text(&frame["offset"]).unwrap_or_default();
    let module = text(&frame["module"]);
    let file = module.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
    let place = file.map_or_else(|| format!("{offset} in no file"), |file| format!("{file} + {offset}"));
    let places = frame["places"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some((outermost, inlined)) = places.split_last() else { return format!("  {index:>4} {place}\n") };
    let at = |place: &Value| text(&place["at"]).map_or_else(String::new, |at| format!("\n         at {at}"));
    let function = |place: &Value| {
        let name = text(&place["function"]).unwrap_or_default();
        let shown = name.floor_char_boundary(NAME_BYTES_SHOWN);
        if shown < name.len() { format!("{}…", &name[..shown]) } else { name }
    };
    // What the compiler inlined of the standard library tells nothing of the service; `--json` has it.
    let is_own = |place: &&Value| !place["at"].as_str().is_some_and(|at| at.starts_with("/rustc/"));
    let inlined = inlined.iter().filter(is_own);
    let inlined = inlined.map(|inner| format!("  {index:>4} {} (inlined){}\n", function(inner), at(inner)));
    inlined.collect::<String>()
        + &format!("  {index:>4} {} ({place}){}\n", function(outermost), at(outermost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        json!({
            "at_ms": 1_795_384_841_430_i64, "why": "over_time",
            "why_text": "the service overran its time-out of 200 ms; killed",
            "role": "worker", "queue": "read", "row": 2, "pid": 41, "epoch": 7, "exit": "killed by SIGKILL",
            "service": "19000009", "library": "slow", "version": "1.0", "ran_ms": 420,
            "request": {"id": "till-07.2024-05-01.00042", "caller": "anonymous", "kind": "read", "body_bytes": 17,
                "arrived_at_ms": 1_795_384_841_000_i64, "budget_ms": 200, "timeout_ms": 200, "attempt": 1},
            "statement": {"source": "main", "text": "SELECT 1\nFROM t", "bytes": 4000, "is_cut": true, "ran_ms": 419},
            "stack": {"noted_by": "15 (SIGTERM)", "end": "cut", "modules": [
                {"path": "/no/such/libslow.so", "build": "ab"}],
                "frames": [{"module": "/no/such/libslow.so", "offset": "0x12", "symbol": null},
                    {"module": null, "offset": "0x7f00", "symbol": null}]},
            "stack_missing": null,
        })
    }

    #[test]
    fn every_fact_of_a_report_is_told() {
        let mut report = report();
        name_frames(&mut report, Path::new("/no/such"));
        let words = words("1795384841430-19000009-41", &report);
        for part in [
            "2026-11-22T22:00:41.430Z",
            "overran its time-out of 200 ms",
            "worker (read), pid 41, row 2, life 7; killed by SIGKILL",
            "19000009 of slow 1.0, ran for 420 ms; its time-out is 200 ms",
            "till-07.2024-05-01.00042 of anonymous: read, body of 17 B, attempt 2",
            "on \"main\" for 419 ms:\n             SELECT 1\n             FROM t\n             (cut; 3.9 KiB in all)",
            "noted at 15 (SIGTERM); its outer part is left out",
            "   0 libslow.so + 0x12\n",
            "   1 0x7f00 in no file\n",
            "/no/such/libslow.so: its file is not there any more; offsets only",
        ] {
            assert!(words.contains(part), "{part:?} is not in\n{words}");
        }
    }

    #[test]
    fn a_stack_that_is_missing_is_explained() {
        let mut report = report();
        report["stack"] = Value::Null;
        report["statement"] = Value::Null;
        report["stack_missing"] = json!("killed from outside: the process could not note it");
        name_frames(&mut report, Path::new("/no/such"));
        let words = words("x", &report);
        assert!(words.contains("stack      none: killed from outside"), "{words}");
        assert!(words.contains("statement  none was running"), "{words}");
    }

    #[test]
    fn frames_of_this_program_get_their_functions() {
        let own = gantry_sys::signal::loaded_modules().remove(0);
        let build: String = own.build.iter().map(|byte| format!("{byte:02x}")).collect();
        let offset = frames_of_this_program_get_their_functions as *const () as usize - own.bias;
        // As after the program was moved: this one is the same build.
        for path in [own.path.display().to_string(), format!("/moved/{} (deleted)", "gantry")] {
            let mut report = json!({"stack": {
                "modules": [{"path": path, "build": build}],
                "frames": [{"module": path, "offset": format!("{offset:#x}"), "symbol": null}],
            }});
            name_frames(&mut report, Path::new("/no/such"));
            let symbol = report["stack"]["frames"][0]["symbol"].as_str().unwrap_or_default();
            assert!(symbol.ends_with("frames_of_this_program_get_their_functions"), "{report}");
            assert_eq!(report["stack"]["modules"][0]["without_symbols"], Value::Null);
        }
    }
}
