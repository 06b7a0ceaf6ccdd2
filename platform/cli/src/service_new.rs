//! `gantry service new`: the folder of a new service library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use gantry_sys::process::own_executable;
use serde_json::json;

use crate::arguments::{Language, NewArguments};
use crate::operations::say;

const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../templates/rust/src/lib.rs.in")),
    ("README.md", include_str!("../templates/rust/README.md.in")),
];
const CPP: &[(&str, &str)] = &[
    ("CMakeLists.txt", include_str!("../templates/cpp/CMakeLists.txt.in")),
    ("@NAME@.cpp", include_str!("../templates/cpp/library.cpp.in")),
    ("README.md", include_str!("../templates/cpp/README.md.in")),
];

/// Where the packages put the sources that libraries are built against.
const INSTALLED: &str = "/usr/share/gantry";
/// Bytes of a name: it becomes part of names of tables, of which DB2 and PostgreSQL keep 63 bytes.
const NAME_BYTES_MAX: usize = 40;
/// Numbers that are given by the name: 9,500,000 to 9,899,999, which no service that ships uses.
const NUMBERS_BEGIN: u32 = 9_500_000;
const NUMBERS_COUNT: u32 = 400_000;

/// Makes the folder. Needs neither a configuration nor a node.
pub(crate) fn run(arguments: NewArguments, json: bool) -> anyhow::Result<ExitCode> {
    let NewArguments { name, lang, number, path, sdk } = arguments;
    check_name(&name)?;
    let digits = number.unwrap_or_else(|| digits_of(&name));
    let (read, write) = (10_000_000 + digits, 20_000_000 + digits);
    let sdk = find_sdk(sdk)?;
    let folder = path.unwrap_or_else(|| PathBuf::from(&name));
    if folder.exists() {
        bail!("{} is there already; choose another name, or another folder with --path", folder.display());
    }
    let executable =
        own_executable().context("the path of this program cannot be found; is /proc mounted?")?;
    let beside = executable.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let sdk = sdk.to_string_lossy();
    let (read_text, write_text) = (read.to_string(), write.to_string());
    let fill = |text: &str| {
        let filled = text.replace("@NAME@", &name).replace("@READ@", &read_text);
        filled.replace("@WRITE@", &write_text).replace("@SDK@", &sdk).replace("@BIN@", &beside)
    };
    for (file, text) in if lang == Language::Rust { RUST } else { CPP } {
        let file = folder.join(fill(file));
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        fs::write(&file, fill(text)).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let told = json!({ "name": name, "folder": folder, "read": read, "write": write });
    say(json, &told, || {
        format!(
            "{} is made: services {read} and {write}; README.md there says how it goes on",
            folder.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_good = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_good {
        bail!(
            "\"{name}\" is no name for a library: write a letter, then letters, digits and _, all small, at most {NAME_BYTES_MAX}"
        );
    }
    Ok(())
}

/// The same for the same name everywhere; two names may share theirs, which the second deployment then tells.
fn digits_of(name: &str) -> u32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    NUMBERS_BEGIN + hash % NUMBERS_COUNT
}

fn find_sdk(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let has_abi = |folder: &Path| folder.join("abi/include/gantry.h").is_file();
    if let Some(given) = given {
        let given = std::path::absolute(given)?;
        if !has_abi(&given) {
            bail!("{} has no abi/include/gantry.h; name the folder of Gantry's sources", given.display());
        }
        return Ok(given);
    }
    let above: Vec<PathBuf> = own_executable().into_iter().chain(std::env::current_dir()).collect();
    let above = above.iter().flat_map(|path| path.ancestors().map(Path::to_owned));
    let found = above.chain([PathBuf::from(INSTALLED)]).find(|folder| has_abi(folder));
    found.with_context(|| {
        format!("Gantry's sources, with abi/include/gantry.h, are neither above this program, nor above this folder, nor in {INSTALLED}; name their folder with --sdk")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_libraries_tables_and_crates_can_be_called() {
        for good in ["tally", "a", "etc_2", &"x".repeat(40)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Tally", "2x", "_x", "a-b", "a/b", "\u{e4}", &"x".repeat(41)] {
            assert!(check_name(bad).unwrap_err().to_string().contains("is no name"), "{bad}");
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for (_, text) in RUST.iter().chain(CPP) {
            let filled = ["@NAME@", "@READ@", "@WRITE@", "@SDK@", "@BIN@"]
                .iter()
                .fold((*text).to_owned(), |text, key| text.replace(key, ""));
            let left =
                filled.split('@').nth(1).filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()));
            assert_eq!(left, None);
        }
        assert_eq!(digits_of("tally"), digits_of("tally"));
        assert!((9_500_000..9_900_000).contains(&digits_of("tally")));
    }
}
