//! Where `scripts/setup` puts what it installs: other people's programs.

use std::path::PathBuf;

/// Python with the packages of `scripts/requirements.txt`.
pub fn python() -> PathBuf {
    there(set("JACKFIELD_PYTHON").unwrap_or_else(|| cache().join("venv/bin/python")))
}

/// A program that a package of `scripts/requirements.txt` brings.
pub fn python_program(name: &str) -> PathBuf {
    there(cache().join("venv/bin").join(name))
}

/// The folder with the packages of `scripts/package.json`: a script without a file finds them below its working folder.
pub fn node_packages() -> PathBuf {
    there(cache().join("node"))
}

/// A program that a package of `scripts/package.json` brings.
pub fn node_program(name: &str) -> PathBuf {
    there(node_packages().join("node_modules/.bin").join(name))
}

/// An example of this repository, built with the tests.
pub fn example(name: &str) -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_jackfield"));
    let example = binary.with_file_name("examples").join(name);
    assert!(example.exists(), "{} is not there: cargo build --examples", example.display());
    example
}

fn there(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is not there: run scripts/setup", path.display());
    path
}

/// Where all of it lies, and what those programs keep for themselves.
pub fn cache() -> PathBuf {
    set("JACKFIELD_CACHE").unwrap_or_else(|| {
        let home = set("HOME").expect("HOME is set");
        set("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("jackfield")
    })
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}
