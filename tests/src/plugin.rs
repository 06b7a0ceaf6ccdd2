//! Service libraries that a test compiles itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{repository_root, run_command};

/// Compiles `source` (`.c` or `.cpp`) against the shipped header into `folder/lib<stem>.so` and returns
/// that path; the folder is made when it is not there.
///
/// # Panics
/// When the compiler refuses.
#[must_use]
#[track_caller]
pub fn compile_plugin(source: &Path, folder: &Path, extra: &[&str]) -> PathBuf {
    fs::create_dir_all(folder).expect("the folder for a library can be made");
    let stem = source.file_stem().expect("a source has a name").to_string_lossy();
    let library = folder.join(format!("lib{stem}.so"));
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut command = Command::new(if is_cpp { "c++" } else { "cc" });
    command.arg(if is_cpp { "-std=gnu++17" } else { "-std=gnu11" });
    // Hidden by default, as the header asks for: the entry alone is visible.
    command
        .args(["-shared", "-fPIC", "-pthread", "-O1", "-g", "-Wall", "-fvisibility=hidden", "-o"])
        .arg(&library);
    command.arg("-I").arg(repository_root().join("abi/include")).args(extra).arg(source);
    let output = run_command(&mut command);
    assert_eq!(output.code, Some(0), "{} cannot be compiled: {}", source.display(), output.stderr);
    library
}

/// Compiles `source`, a program in C, into `folder/STEM` and returns that path.
///
/// # Panics
/// When the compiler refuses.
#[must_use]
#[track_caller]
pub fn compile_program(source: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("the folder for a program can be made");
    let program = folder.join(source.file_stem().expect("a source has a name"));
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-O1", "-g", "-Wall", "-o"]).arg(&program).arg(source);
    let output = run_command(&mut command);
    assert_eq!(output.code, Some(0), "{} cannot be compiled: {}", source.display(), output.stderr);
    program
}
