//! The release build and the benchmarks.

use crate::steps::{Failure, Steps};
use crate::workspace::Workspace;

/// `target/release/gantry` and `target/release/libgantry_*.so`: the workspace's default members, in one
/// invocation.
pub(crate) fn build(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    steps.run(
        "release build of the platform and its services",
        &mut workspace.cargo(["build", "--release"]),
    )?;
    expect_artefacts(workspace)
}

/// What the other commands and the tests rely on is really there.
pub(crate) fn expect_artefacts(workspace: &Workspace) -> Result<(), Failure> {
    for name in ["gantry", "libgantry_diag.so"] {
        let file = workspace.target("release").join(name);
        if !file.is_file() {
            return Err(Failure::Wrong(format!("the build did not leave {}", file.display())));
        }
    }
    Ok(())
}

/// The benchmarks; each runs its peer in the same run.
pub(crate) fn bench(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    build(workspace, steps)?;
    steps.run("benchmarks", &mut workspace.cargo(["bench", "--package", "gantry-benches"]))
}
