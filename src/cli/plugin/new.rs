//! `jackfield plugin new`: writes a project that builds, is tested and needs nothing of this repository. The files lie in
//! `templates/`; the crate for Rust comes along as source.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

use super::project::{Language, check_name};

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name, and the folder that is made
    name: String,
    #[arg(long, value_enum)]
    lang: Language,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// A file of the project: where it lies, and what is in it.
type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($($path:literal from $source:literal,)+) => {
        &[$(($path, include_bytes!($source) as &[u8]),)+]
    };
}

const EVERYWHERE: &[File] = files! {
    "tests/01_a_call_is_announced.json" from "templates/tests/01_a_call_is_announced.json",
    "tests/02_the_prefix_is_the_tenants.json" from "templates/tests/02_the_prefix_is_the_tenants.json",
    "tests/03_an_anonymous_call_is_dropped.json" from "templates/tests/03_an_anonymous_call_is_dropped.json",
    "tests/04_a_call_without_a_caller_fails.json" from "templates/tests/04_a_call_without_a_caller_fails.json",
    "tests/05_a_mistyped_field_is_named.json" from "templates/tests/05_a_mistyped_field_is_named.json",
    "tests/06_a_prefix_is_text.json" from "templates/tests/06_a_prefix_is_text.json",
    "README.md" from "templates/README.md",
};

const RUST: &[File] = files! {
    "Cargo.toml" from "templates/rust/Cargo.toml",
    "src/lib.rs" from "templates/rust/src/lib.rs",
    "tests/golden.rs" from "templates/rust/tests/golden.rs",
    // Where the crate looks for it: two folders above its own.
    "wit/plugin-1.0.0/plugin.wit" from "../../../wit/plugin-1.0.0/plugin.wit",
    "vendor/jackfield-plugin/Cargo.toml" from "../../../plugins/sdk/Cargo.toml",
    "vendor/jackfield-plugin/src/bindings.rs" from "../../../plugins/sdk/src/bindings.rs",
    "vendor/jackfield-plugin/src/catalogue.rs" from "../../../plugins/sdk/src/catalogue.rs",
    "vendor/jackfield-plugin/src/catalogue/agent.rs" from "../../../plugins/sdk/src/catalogue/agent.rs",
    "vendor/jackfield-plugin/src/catalogue/call.rs" from "../../../plugins/sdk/src/catalogue/call.rs",
    "vendor/jackfield-plugin/src/catalogue/chat.rs" from "../../../plugins/sdk/src/catalogue/chat.rs",
    "vendor/jackfield-plugin/src/catalogue/queue.rs" from "../../../plugins/sdk/src/catalogue/queue.rs",
    "vendor/jackfield-plugin/src/catalogue/system.rs" from "../../../plugins/sdk/src/catalogue/system.rs",
    "vendor/jackfield-plugin/src/config.rs" from "../../../plugins/sdk/src/config.rs",
    "vendor/jackfield-plugin/src/discord.rs" from "../../../plugins/sdk/src/discord.rs",
    "vendor/jackfield-plugin/src/edit.rs" from "../../../plugins/sdk/src/edit.rs",
    "vendor/jackfield-plugin/src/event.rs" from "../../../plugins/sdk/src/event.rs",
    "vendor/jackfield-plugin/src/golden.rs" from "../../../plugins/sdk/src/golden.rs",
    "vendor/jackfield-plugin/src/golden/case.rs" from "../../../plugins/sdk/src/golden/case.rs",
    "vendor/jackfield-plugin/src/host.rs" from "../../../plugins/sdk/src/host.rs",
    "vendor/jackfield-plugin/src/instance.rs" from "../../../plugins/sdk/src/instance.rs",
    "vendor/jackfield-plugin/src/lib.rs" from "../../../plugins/sdk/src/lib.rs",
    "vendor/jackfield-plugin/src/pick.rs" from "../../../plugins/sdk/src/pick.rs",
    "vendor/jackfield-plugin/src/pool.rs" from "../../../plugins/sdk/src/pool.rs",
    "vendor/jackfield-plugin/src/scan.rs" from "../../../plugins/sdk/src/scan.rs",
    "vendor/jackfield-plugin/src/slack.rs" from "../../../plugins/sdk/src/slack.rs",
    "vendor/jackfield-plugin/src/str.rs" from "../../../plugins/sdk/src/str.rs",
    "vendor/jackfield-plugin/src/teams.rs" from "../../../plugins/sdk/src/teams.rs",
    "vendor/jackfield-plugin/src/template.rs" from "../../../plugins/sdk/src/template.rs",
    "vendor/jackfield-plugin/src/text.rs" from "../../../plugins/sdk/src/text.rs",
    "vendor/jackfield-plugin/src/time.rs" from "../../../plugins/sdk/src/time.rs",
    "vendor/jackfield-plugin/src/verdict.rs" from "../../../plugins/sdk/src/verdict.rs",
    "vendor/jackfield-plugin/src/words.rs" from "../../../plugins/sdk/src/words.rs",
};

const JS: &[File] = files! {
    "wit/plugin.wit" from "../../../wit/plugin-1.0.0/plugin.wit",
    "plugin.js" from "templates/js/plugin.js",
    "jackfield.d.ts" from "templates/js/jackfield.d.ts",
    "package.json" from "templates/js/package.json",
};

const PYTHON: &[File] = files! {
    "wit/plugin.wit" from "../../../wit/plugin-1.0.0/plugin.wit",
    "plugin.py" from "templates/python/plugin.py",
    "requirements.txt" from "templates/python/requirements.txt",
};

/// The bindings are what `wit-bindgen c wit -w transform-plugin` (0.61) makes.
const C: &[File] = files! {
    "wit/plugin.wit" from "../../../wit/plugin-1.0.0/plugin.wit",
    "plugin.c" from "templates/c/plugin.c",
    "json.h" from "templates/c/json.h",
    "requirements.txt" from "templates/c/requirements.txt",
    "bindings/transform_plugin.c" from "templates/c/bindings/transform_plugin.c",
    "bindings/transform_plugin.h" from "templates/c/bindings/transform_plugin.h",
    "bindings/transform_plugin_component_type.o" from "templates/c/bindings/transform_plugin_component_type.o",
};

/// What differs between the languages besides their files.
struct Template {
    files: &'static [File],
    ignored: &'static str,
    language: &'static str,
    source: &'static str,
    setup: &'static str,
    interface: &'static str,
}

fn template(language: Language) -> Template {
    match language {
        Language::Rust => Template {
            files: RUST,
            ignored: "/target\n",
            language: "Rust",
            source: "src/lib.rs",
            setup: "rustup target add wasm32-unknown-unknown",
            interface: "wit/plugin-1.0.0/plugin.wit",
        },
        Language::Js => Template {
            files: JS,
            ignored: "/node_modules\n",
            language: "JavaScript",
            source: "plugin.js",
            setup: "npm install",
            interface: "wit/plugin.wit",
        },
        Language::Python => Template {
            files: PYTHON,
            ignored: "/.venv\n/typings\n__pycache__\n",
            language: "Python",
            source: "plugin.py",
            setup: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
            interface: "wit/plugin.wit",
        },
        Language::C => Template {
            files: C,
            ignored: "/.venv\n/.zig-cache\n",
            language: "C",
            source: "plugin.c",
            setup: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt    # or have zig on PATH",
            interface: "wit/plugin.wit",
        },
    }
}

/// Writes the project.
///
/// # Errors
/// The name is none, or its folder is there already: nothing is overwritten.
pub fn run(args: &NewArgs) -> Result<()> {
    check_name(&args.name)?;
    let folder = args.dir.join(&args.name);
    fs::create_dir_all(&args.dir).with_context(|| format!("failed to make {}", args.dir.display()))?;
    fs::create_dir(&folder).with_context(|| format!("failed to make {}: nothing is overwritten", folder.display()))?;
    let template = template(args.lang);
    for (path, bytes) in EVERYWHERE.iter().chain(template.files) {
        write(&folder.join(path), &filled(bytes, &args.name, &template))?;
    }
    write(&folder.join(".gitignore"), format!("*.wasm\n{}", template.ignored).as_bytes())?;
    if args.lang != Language::Rust {
        write(&folder.join("plugin.json"), description(&args.name, args.lang)?.as_bytes())?;
    }
    println!("made {}", folder.display());
    println!("  cd {}", folder.display());
    println!("  {}", template.setup);
    println!("  jackfield plugin run            # builds it and runs its golden cases; --watch: at each change");
    Ok(())
}

fn description(name: &str, language: Language) -> Result<String> {
    let described = serde_json::json!({"name": name, "language": language, "world": "transform-plugin"});
    let text = serde_json::to_string_pretty(&described).context("failed to write plugin.json")?;
    Ok(text + "\n")
}

/// The same bytes, with the words for this project where it is a text.
fn filled(bytes: &[u8], name: &str, template: &Template) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.to_owned();
    };
    let setup = format!("Once:\n\n```sh\n{}\n```\n\nThen:\n", template.setup);
    text.replace("{{name}}", name)
        .replace("{{language}}", template.language)
        .replace("{{source}}", template.source)
        .replace("{{interface}}", template.interface)
        .replace("{{setup}}", &setup)
        .into_bytes()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that the crate gains must come along, or the project does not build.
    #[test]
    fn all_of_the_crate_for_rust_comes_along() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk");
        let mut folders = vec![sdk.clone()];
        let mut missing = Vec::new();
        let vendored = |file: &'static str| file.strip_prefix("vendor/jackfield-plugin/");
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !RUST.iter().any(|(file, _)| vendored(file).is_some_and(|file| path == sdk.join(file))) {
                    missing.push(path);
                }
            }
        }
        assert_eq!(missing, Vec::<PathBuf>::new());
    }
}
