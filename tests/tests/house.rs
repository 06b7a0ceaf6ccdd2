//! The house rules that a machine can hold: which crate may know which, how long functions and files are,
//! where unsafe code may be, and that nothing unfinished is left lying about.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_tests::licence::is_acceptable;
use gantry_tests::source::{find, functions, tokens};
use gantry_tests::{repository_root, run_command};
use serde_json::Value;

/// Lines of the longest function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of the longest source file.
const FILE_LINES_MAX: usize = 600;

/// What each crate of ours may use of ours, besides what those in turn may use. An arrow that is missing
/// here is a decision: add it with the reason, or find out why it was not needed so far.
const ARROWS: &[(&str, &[&str])] = &[
    // Words and contracts: nothing of ours.
    ("gantry-abi", &[]),
    ("gantry-message", &[]),
    ("gantry-sys", &[]),
    ("gantry-settings", &[]),
    ("gantry-frame", &["gantry-message"]),
    // Shared memory.
    ("gantry-segment", &["gantry-sys"]),
    ("gantry-ring", &["gantry-segment"]),
    ("gantry-telemetry", &["gantry-segment"]),
    // Data.
    ("gantry-odbc-cancel", &[]),
    ("gantry-datasource", &["gantry-odbc-cancel", "gantry-settings"]),
    ("gantry-document", &["gantry-settings"]),
    ("gantry-registry", &["gantry-datasource"]),
    // It keeps numbers that are leased in shared memory, for all processes of a node.
    ("gantry-serials", &["gantry-datasource", "gantry-segment", "gantry-settings", "gantry-sys"]),
    ("gantry-service-host", &["gantry-abi", "gantry-message"]),
    ("gantry-signature", &[]),
    ("gantry-host-sql", &["gantry-datasource", "gantry-service-host"]),
    // The three kinds of process. The supervisor knows no other process and no database.
    (
        "gantry-supervisor",
        &[
            "gantry-message",
            "gantry-segment",
            "gantry-ring",
            "gantry-sys",
            "gantry-settings",
            "gantry-telemetry",
        ],
    ),
    (
        "gantry-comm",
        &["gantry-frame", "gantry-message", "gantry-ring", "gantry-settings", "gantry-telemetry"],
    ),
    (
        "gantry-worker",
        &[
            "gantry-document",
            "gantry-host-sql",
            "gantry-datasource",
            "gantry-serials",
            "gantry-message",
            "gantry-ring",
            "gantry-settings",
            "gantry-telemetry",
        ],
    ),
    // The only place that knows every crate of the platform.
    (
        "gantry-cli",
        &[
            "gantry-supervisor",
            "gantry-comm",
            "gantry-worker",
            "gantry-registry",
            "gantry-service-host",
            "gantry-signature",
            "gantry-frame",
            // Rows to fill an empty database with; it knows nothing of the platform.
            "gantry-seed",
        ],
    ),
    // Services reach data through the host table at run time, so they need the contract alone.
    ("gantry-ledger", &["gantry-abi"]),
    ("gantry-service-account", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-bank", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-card", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-clearing", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-diag", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-passage", &["gantry-abi", "gantry-ledger"]),
    ("gantry-service-serial", &["gantry-abi", "gantry-ledger"]),
    // What service writers test with, without a platform.
    ("gantry-test-kit", &["gantry-host-sql"]),
    // What `gantry data seed` fills tables with: rows as plain values, written by the command.
    ("gantry-seed", &[]),
    // Tools. The tests know the contract and nothing else.
    ("gantry-benches", &["gantry-frame", "gantry-ring", "gantry-serials", "gantry-tests"]),
    ("gantry-test-servers", &[]),
    ("gantry-tests", &["gantry-test-servers"]),
    ("xtask", &[]),
];

/// Crates that may contain unsafe code at all.
const UNSAFE: &[&str] = &[
    "gantry-abi",
    "gantry-sys",
    "gantry-segment",
    "gantry-ring",
    "gantry-service-host",
    "gantry-test-kit",
    // One call: `SQLCancel`, from another thread than the statement's.
    "gantry-odbc-cancel",
];

#[test]
fn crates_use_only_the_crates_their_arrows_point_to() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for package in packages() {
        let name = text(&package, "name");
        if !arrows.contains_key(name.as_str()) {
            faults.push(format!("{name} is not in the list of arrows"));
            continue;
        }
        let mut reachable = Vec::new();
        reach(&arrows, &name, &mut reachable);
        for used in normal_dependencies(&package) {
            if arrows.contains_key(used.as_str()) && !reachable.contains(&used.as_str()) {
                faults.push(format!("{name} must not use {used}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn arrows_never_lead_back() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for (name, _) in ARROWS {
        let mut reachable = Vec::new();
        reach(&arrows, name, &mut reachable);
        assert!(!reachable.contains(name), "{name} can be reached from itself");
    }
}

#[test]
fn no_function_is_longer_than_the_limit() {
    let mut faults = Vec::new();
    for (path, source) in sources() {
        for function in functions(&tokens(&source)) {
            if function.lines > FUNCTION_LINES_MAX {
                faults.push(format!(
                    "{path}:{}: fn {} has {} lines",
                    function.line, function.name, function.lines
                ));
            }
        }
    }
    assert!(faults.is_empty(), "over {FUNCTION_LINES_MAX} lines:\n{}", faults.join("\n"));
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let long = |(path, source): (String, String)| {
        let lines = source.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{path} has {lines} lines"))
    };
    let faults: Vec<String> = sources().into_iter().filter_map(long).collect();
    assert!(faults.is_empty(), "over {FILE_LINES_MAX} lines:\n{}", faults.join("\n"));
}

#[test]
fn nothing_unfinished_is_left() {
    let unfinished: [&[&str]; 4] =
        [&["todo", "!"], &["unimplemented", "!"], &["#", "[", "ignore"], &["dbg", "!"]];
    let mut faults = Vec::new();
    for (path, source) in sources() {
        let tokens = tokens(&source);
        for words in unfinished {
            if let Some(line) = find(&tokens, words) {
                faults.push(format!("{path}:{line}: {}", words.concat()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The lint holds only where the crate's root says so; this holds the roots.
#[test]
fn crates_without_business_with_unsafe_code_forbid_it() {
    let mut faults = Vec::new();
    for package in packages() {
        let name = text(&package, "name");
        if UNSAFE.contains(&name.as_str()) {
            continue;
        }
        // The export macro opens one door in a service, which `forbid` would keep shut.
        let word = if name.starts_with("gantry-service-") { "deny" } else { "forbid" };
        for root in crate_roots(&package) {
            let source = fs::read_to_string(&root).expect("a target's source can be read");
            let attribute = ["#", "!", "[", word, "(", "unsafe_code", ")", "]"];
            if find(&tokens(&source), &attribute).is_none() {
                faults.push(format!("{}: #![{word}(unsafe_code)] is missing", root.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut faults = Vec::new();
    for package in packages() {
        let manifest = text(&package, "manifest_path");
        let lines = fs::read_to_string(&manifest).expect("a manifest can be read");
        if !lines.contains("[lints]\nworkspace = true") {
            faults.push(format!("{manifest}: `[lints] workspace = true` is missing"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_foreign_crate_has_its_reason_beside_it() {
    let manifest =
        fs::read_to_string(repository_root().join("Cargo.toml")).expect("the manifest can be read");
    let dependencies =
        manifest.split("[workspace.dependencies]").nth(1).expect("the workspace lists dependencies");
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let foreign = |line: &&str| line.contains(" = ") && !line.starts_with('#') && !line.contains("path = ");
    let bare: Vec<&str> = dependencies.lines().filter(foreign).filter(|line| !line.contains(" # ")).collect();
    assert!(bare.is_empty(), "a reason is missing:\n{}", bare.join("\n"));
}

/// The same list that `cargo deny` reads, so that it counts where that is not installed.
#[test]
fn every_foreign_crate_has_a_licence_that_the_list_allows() {
    let list = fs::read_to_string(repository_root().join(".deny.toml")).expect("the list can be read");
    let licences = list.split("[licenses]").nth(1).expect("the list has a section for licences");
    let allowed = quoted(between(licences, "allow = [", "]"));
    let exceptions = between(licences, "exceptions = [", "\n]");
    let mut faults = Vec::new();
    for package in metadata(&["--filter-platform", &host()]) {
        if package["source"].is_null() {
            continue;
        }
        let name = text(&package, "name");
        let of_its_own = format!("crate = \"{name}\"");
        let exception = exceptions.lines().find(|line| line.contains(&of_its_own)).unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        let accepted = |one: &str| allowed.contains(&one) || quoted(exception).contains(&one);
        if !is_acceptable(licence, &accepted) {
            faults.push(format!("{name}: {licence}"));
        }
    }
    assert!(faults.is_empty(), "not allowed by .deny.toml:\n{}", faults.join("\n"));
}

fn reach<'a>(arrows: &BTreeMap<&str, &'a [&'a str]>, from: &str, reachable: &mut Vec<&'a str>) {
    for next in arrows.get(from).copied().unwrap_or_default() {
        if !reachable.contains(next) {
            reachable.push(next);
            reach(arrows, next, reachable);
        }
    }
}

/// The workspace's packages.
fn packages() -> Vec<Value> {
    metadata(&["--no-deps"])
}

/// Packages as `cargo metadata` describes them.
fn metadata(arguments: &[&str]) -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository_root()).args(["metadata", "--format-version", "1", "--offline"]);
    let metadata = run_command(command.args(arguments)).expect_code(0).json();
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}

/// The platform this runs on, as cargo names it.
fn host() -> String {
    let output = run_command(Command::new("rustc").args(["--print", "host-tuple"])).expect_code(0);
    output.text().trim().to_owned()
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let after = text.split(from).nth(1).unwrap_or_else(|| panic!("no {from:?} in .deny.toml"));
    after.split(to).next().unwrap_or_default()
}

/// The texts in double quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Names of what a package uses when it runs or is built; tests may use more.
fn normal_dependencies(package: &Value) -> Vec<String> {
    let dependencies = package["dependencies"].as_array().expect("a package lists its dependencies");
    dependencies.iter().filter(|one| one["kind"] != "dev").map(|one| text(one, "name")).collect()
}

/// Root files of a package's library and programs.
fn crate_roots(package: &Value) -> Vec<PathBuf> {
    let targets = package["targets"].as_array().expect("a package lists its targets");
    let ships = |target: &&Value| {
        let kinds = target["kind"].as_array().expect("a target has kinds");
        kinds.iter().any(|kind| ["lib", "cdylib", "bin"].contains(&kind.as_str().unwrap_or_default()))
    };
    targets.iter().filter(ships).map(|target| PathBuf::from(text(target, "src_path"))).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}")).to_owned()
}

/// Every source file of the repository with its path below the root.
fn sources() -> Vec<(String, String)> {
    let root = repository_root();
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources were not found below {}", root.display());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("a folder's entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "var" && !name.starts_with('.') {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs") {
            let source = fs::read_to_string(&path).expect("a source is UTF-8");
            let below = path.strip_prefix(root).unwrap_or(&path);
            found.push((below.to_string_lossy().into_owned(), source));
        }
    }
}
