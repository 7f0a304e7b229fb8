//! Answers for people.

use super::super::{golden::Outcome, size};
use crate::plugin::{Emitted, Limits, Rehearsed, Verdict};

/// An answer with what it cost.
pub fn answer(first: &Rehearsed, warm: &[Rehearsed], limits: &Limits) {
    let mut emitted = 0;
    match &first.answer {
        Ok(Verdict::Pass) => println!("pass: the event goes on as it is"),
        Ok(Verdict::Drop(None)) => println!("drop"),
        Ok(Verdict::Drop(Some(reason))) => println!("drop: {reason}"),
        Ok(Verdict::Emit(output)) => {
            emitted = output.size();
            show_output(output);
        }
        Err(failure) => println!("fail: {failure}"),
    }
    for line in &first.logs.lines {
        println!("log {}: {}", line.level, line.message);
    }
    if first.logs.dropped > 0 {
        println!("log: {} lines more than are kept", first.logs.dropped);
    }
    let mut times: Vec<u64> = warm.iter().skip(1).map(|rehearsed| rehearsed.microseconds).collect();
    times.sort_unstable();
    let then = times.get(times.len() / 2).map_or(String::new(), |median| format!(", then {median} µs"));
    println!("time    {} µs at first{then}, of {} ms", first.microseconds, limits.deadline.as_millis());
    println!("memory  {} of {}", size(first.memory_bytes), size(limits.max_memory_bytes));
    println!("output  {} of {}", size(emitted), size(limits.max_output_bytes));
}

fn show_output(output: &Emitted) {
    println!("emit: {}", output.content_type);
    for (name, value) in &output.headers {
        println!("{name}: {value}");
    }
    match std::str::from_utf8(&output.body) {
        Ok(text) if output.is_text => println!("{text}"),
        _ => println!("({} bytes)", output.body.len()),
    }
    for (key, value) in &output.attributes {
        println!("attribute {key}: {value}");
    }
}

/// One golden case, with each difference on a line of its own.
pub fn outcome(outcome: &Outcome) {
    if outcome.differences.is_empty() {
        println!("ok    {}", outcome.name);
        return;
    }
    println!("FAIL  {} ({})", outcome.name, outcome.file);
    for difference in &outcome.differences {
        println!("      {difference}");
    }
}
