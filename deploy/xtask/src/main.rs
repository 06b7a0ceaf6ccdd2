//! Build, demo and test commands of the repository.
fn main() {}
