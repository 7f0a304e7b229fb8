//! Where `scripts/setup` puts what it installs: other people's programs.

use std::path::PathBuf;

/// Python with the packages of `scripts/requirements.txt`.
pub fn python() -> PathBuf {
    let python = set("JACKFIELD_PYTHON").unwrap_or_else(|| cache().join("venv/bin/python"));
    assert!(python.exists(), "{} is not there: run scripts/setup", python.display());
    python
}

/// The folder with the packages of `scripts/package.json`: a script without a file finds them below its working folder.
pub fn node_packages() -> PathBuf {
    let packages = cache().join("node");
    assert!(packages.exists(), "{} is not there: run scripts/setup", packages.display());
    packages
}

/// A program that a package of `scripts/package.json` brings.
pub fn node_program(name: &str) -> PathBuf {
    let program = node_packages().join("node_modules/.bin").join(name);
    assert!(program.exists(), "{} is not there: run scripts/setup", program.display());
    program
}

/// An example of this repository, built with the tests.
pub fn example(name: &str) -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_jackfield"));
    let example = binary.with_file_name("examples").join(name);
    assert!(example.exists(), "{} is not there: cargo build --examples", example.display());
    example
}

pub fn cache() -> PathBuf {
    set("JACKFIELD_CACHE").unwrap_or_else(|| {
        let home = set("HOME").expect("HOME is set");
        set("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("jackfield")
    })
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}
