//! `jackfield plugin run`: calls a plugin here, under the server's own engine and limits, with no server: for one event, or
//! for each golden case.

mod shown;
mod watch;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::{
    check,
    component::Shape,
    golden,
    subject::{Subject, golden_folder},
};
use crate::{
    config::PluginLimitSettings,
    plugin::{Destination, Limits, PluginError, Rehearsal},
};

/// Calls after the first, which tell what a warm instance takes.
const WARM_CALLS: usize = 20;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A component, or the folder of a project, which is built first
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    path: PathBuf,
    /// The event, as JSON with `type` and `data`; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// The step's configuration, as JSON [default: {}]
    #[arg(long, value_name = "FILE", requires = "event")]
    config: Option<PathBuf>,
    /// Where the answer would go
    #[arg(long, value_enum, default_value = "webhook", requires = "event")]
    to: Target,
    /// A folder of golden cases [default: `tests` of a project, where no event is given]
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// A secret that the plugin may read
    #[arg(long = "secret", value_name = "NAME=VALUE", value_parser = secret)]
    secrets: Vec<(String, Arc<str>)>,
    /// Stay, and do it again whenever a file changes
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// For programs: one line of JSON per event or golden case
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: PluginLimitSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    Webhook,
    Sockets,
}

/// Runs what is asked for, once or until Ctrl-C.
///
/// # Errors
/// What stopped it, an event that failed, or golden cases that are answered differently.
pub fn run(args: &RunArgs) -> Result<()> {
    let limits = check::limits(&args.limits)?;
    let golden = args.golden.clone().or_else(|| golden_folder(&args.path).filter(|_| args.event.is_none()));
    ensure!(
        golden.is_some() || args.event.is_some(),
        "nothing to run: give --event FILE, or --golden DIR with golden cases"
    );
    if args.watch {
        let also = [&args.event, &args.config, &golden].into_iter().flatten();
        return watch::again_and_again(&args.path, also, || once(args, limits, golden.as_deref()));
    }
    once(args, limits, golden.as_deref())
}

fn once(args: &RunArgs, limits: Limits, golden: Option<&Path>) -> Result<()> {
    let component = Subject::open(&args.path)?.component;
    let refused = || format!("{} is refused", args.path.display());
    Shape::of(&component).with_context(refused)?;
    let rehearsal = Rehearsal::load(&component, limits).with_context(refused)?;
    let rehearsal = rehearsal.with_secrets(args.secrets.iter().cloned().collect());
    if let Some(file) = &args.event {
        one_event(args, limits, &rehearsal, file)?;
    }
    golden.map_or(Ok(()), |folder| golden_cases(args, &rehearsal, folder))
}

fn one_event(args: &RunArgs, limits: Limits, rehearsal: &Rehearsal, file: &Path) -> Result<()> {
    let text = read(file)?;
    let envelope: golden::Envelope =
        serde_json::from_str(&text).with_context(|| format!("{} is no event", file.display()))?;
    let event = golden::event(&envelope).with_context(|| file.display().to_string())?;
    let config = args.config.as_deref().map_or(Ok("{}".to_owned()), read)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&config).context("the configuration is no JSON")?;
    let to = match args.to {
        Target::Webhook => Destination { kind: "webhook", id: String::new(), name: String::new() },
        Target::Sockets => Destination::sockets(),
    };
    if !rehearsal.understands(&event) {
        let patterns = rehearsal.about().events.join(" ");
        eprintln!("note: a chain skips this plugin for {}: it understands {patterns}", event.event_type.as_str());
    }
    let ask = |events: &[_]| match golden::rehearse(rehearsal, &config, &to, events) {
        Err(PluginError::Guest(failure)) if failure.code == "config" => {
            bail!("the plugin refuses the configuration: {}", failure.message)
        }
        rehearsed => rehearsed.context("the plugin does not start"),
    };
    let events = vec![event; 1 + WARM_CALLS];
    let first = ask(&events[..1])?.pop().context("one event was asked for")?;
    // What fails is not asked again: it may take its whole deadline.
    let warm = if first.answer.is_ok() && !args.json { ask(&events)? } else { Vec::new() };
    if args.json {
        println!("{}", serde_json::to_string(&first).context("failed to show the answer")?);
    } else {
        shown::answer(&first, &warm, &limits);
    }
    ensure!(first.answer.is_ok(), "the plugin failed this event");
    Ok(())
}

fn golden_cases(args: &RunArgs, rehearsal: &Rehearsal, folder: &Path) -> Result<()> {
    let outcomes = golden::run(rehearsal, folder)?;
    let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    for outcome in &outcomes {
        if args.json {
            let (name, file, differences) = (&outcome.name, &outcome.file, &outcome.differences);
            println!("{}", serde_json::json!({"name": name, "file": file, "differences": differences}));
        } else {
            shown::outcome(outcome);
        }
    }
    ensure!(failed == 0, "{failed} of {} golden cases differ", outcomes.len());
    if !args.json {
        println!("{} golden cases passed", outcomes.len());
    }
    Ok(())
}

fn secret(text: &str) -> Result<(String, Arc<str>), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.into()))
}

fn read(file: &Path) -> Result<String> {
    let cannot = || format!("failed to read {}", file.display());
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).with_context(cannot)?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(cannot)
}
