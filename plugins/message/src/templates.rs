//! Which template an event type gets, and their texts prepared for one receiver.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jackfield_plugin::pick::Picker;
use jackfield_plugin::template::{self, Place, Template};
use jackfield_plugin::text::{Prepared, Style};
use serde::Deserialize;

use crate::catalogue::{ANY, BUILT_IN, BuiltIn};
use crate::{Fields, Message, Part};

/// The parts of one message as a configuration writes them; an absent part is the built-in template's.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateConfig {
    title: Option<String>,
    text: Option<String>,
    fields: Option<Vec<String>>,
}

/// How a receiver shows a message.
#[derive(Clone, Copy)]
pub struct Dress {
    /// Its escapes.
    pub style: Style,
    /// What stands before and after a label, in its markup.
    pub label: (&'static str, &'static str),
}

/// Every template of a step, by what it is for.
pub struct Templates {
    /// Catalogue types and those that the configuration names, sorted [`by_length`].
    exact: Vec<(String, Message)>,
    /// What types below a prefix (`call.`) get, longest prefix first.
    below: Vec<(String, Message)>,
    other: Message,
}

type Configured = BTreeMap<String, TemplateConfig>;

impl Templates {
    /// Prepares the built-in messages and those of the configuration.
    ///
    /// # Errors
    /// A pattern that matches nothing, or a text that cannot be taken apart, with its place.
    pub fn compile(configured: &BTreeMap<String, TemplateConfig>, dress: Dress) -> Result<Self, String> {
        let mut exact = BTreeMap::new();
        let mut below = Vec::new();
        for pattern in configured.keys() {
            check_pattern(pattern)?;
            if let Some(prefix) = pattern.strip_suffix('*').filter(|prefix| !prefix.is_empty()) {
                below.push((prefix.to_owned(), compile(configured, pattern, &ANY, dress)?));
            } else if pattern != "*" {
                exact.insert(pattern.clone(), compile(configured, pattern, built_in(pattern), dress)?);
            }
        }
        // In order of text, of two prefixes of one type the longer comes later.
        below.reverse();
        for known in BUILT_IN.iter().filter(|known| !configured.contains_key(known.event_type)) {
            let pattern = below.iter().map(|(prefix, _)| prefix).find(|prefix| known.event_type.starts_with(*prefix));
            let pattern = pattern.map_or("*".to_owned(), |prefix| format!("{prefix}*"));
            exact.insert(known.event_type.to_owned(), compile(configured, &pattern, known, dress)?);
        }
        let mut exact: Vec<(String, Message)> = exact.into_iter().collect();
        exact.sort_by(|(one, _), (other, _)| by_length(one, other));
        Ok(Self { exact, below, other: compile(configured, "*", &ANY, dress)? })
    }

    /// The template of this type.
    pub fn of(&self, event_type: &str) -> &Message {
        if let Ok(at) = self.exact.binary_search_by(|(known, _)| by_length(known, event_type)) {
            return &self.exact[at].1;
        }
        let below = self.below.iter().find(|(prefix, _)| event_type.starts_with(prefix.as_str()));
        below.map_or(&self.other, |(_, template)| template)
    }
}

/// Most types differ in length, and begin alike: few texts have to be compared.
fn by_length(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn built_in(event_type: &str) -> &'static BuiltIn {
    BUILT_IN.iter().find(|known| known.event_type == event_type).unwrap_or(&ANY)
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let stem = if pattern == "*" { "any" } else { pattern.strip_suffix(".*").unwrap_or(pattern) };
    if stem.is_empty() || stem.contains('*') {
        return Err(format!(
            "`templates.{pattern}` matches no event: write a type (`call.incoming`), a pattern (`call.*`) or `*`"
        ));
    }
    Ok(())
}

/// The configured template of this pattern, where there is one, over the built-in one.
fn compile(configured: &Configured, pattern: &str, built_in: &BuiltIn, dress: Dress) -> Result<Message, String> {
    let own = configured.get(pattern).cloned().unwrap_or_default();
    let at = |part: &str, why: String| format!("`templates.{pattern}.{part}`: {why}");
    let mut picker = Picker::default();
    let title = own.title.as_deref().unwrap_or(built_in.title);
    let title = Template::parse(title, &mut picker).map_err(|why| at("title", why))?;
    let text = own.text.as_deref().or(built_in.text).unwrap_or("");
    let text = Template::parse(text, &mut picker).map_err(|why| at("text", why))?;
    let named: Option<Vec<&str>> = match &own.fields {
        Some(fields) => Some(fields.iter().map(String::as_str).collect()),
        None => built_in.fields.map(<[&str]>::to_vec),
    };
    let fields = match named {
        None => Fields::All,
        Some(named) => {
            let (before, after) = dress.label;
            let dressed = |name: &str| format!("{before}{}{after}", dress.style.escape(&label(name)));
            let field =
                |name: &str| Ok((Prepared::markup(dress.style, dressed(name)), Place::parse(name, &mut picker)?));
            let fields = named.into_iter().map(field);
            Fields::Named(fields.collect::<Result<_, String>>().map_err(|why| at("fields", why))?)
        }
    };
    // A title is shown as it is written, with no markup in it: some receivers know none there.
    let title = prepare(title, |literal| Prepared::plain(dress.style, literal));
    Ok(Message { picker, title, text: prepare(text, |literal| Prepared::markup(dress.style, literal)), fields })
}

fn prepare(template: Template, literal: impl Fn(String) -> Prepared) -> Vec<Part> {
    let prepare = |part| match part {
        template::Part::Literal(text) => Part::Literal(literal(text)),
        template::Part::Place(place) => Part::Place(place),
    };
    template.parts.into_iter().map(prepare).collect()
}

/// A field's name for people: `wait_s` is `Wait (s)`, `/customer/name` is `Name`.
pub(crate) fn label(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.strip_prefix("event.").unwrap_or(last);
    let (stem, unit) = match last.rsplit_once('_') {
        Some((stem, unit @ ("s" | "ms"))) => (stem, Some(unit)),
        _ => (last, None),
    };
    let mut label = String::with_capacity(name.len() + 4);
    for (at, c) in stem.chars().enumerate() {
        match c {
            '_' => label.push(' '),
            c if at == 0 => label.push(c.to_ascii_uppercase()),
            c => label.push(c),
        }
    }
    if let Some(unit) = unit {
        label.push_str(&format!(" ({unit})"));
    }
    label
}

#[cfg(test)]
mod tests {
    use jackfield_plugin::Event;
    use jackfield_plugin::text::{Limit, Text};

    use super::*;

    #[test]
    fn labels_are_words_for_people() {
        assert_eq!(label("wait_s"), "Wait (s)");
        assert_eq!(label("call_id"), "Call id");
        assert_eq!(label("/customer/first_name"), "First name");
        assert_eq!(label("event.user"), "User");
        assert_eq!(label("s"), "S");
    }

    #[test]
    fn the_exact_type_wins_over_the_longest_pattern_over_the_rest() {
        let configured = [("call.*", "A"), ("call.queue.*", "B"), ("call.missed", "C"), ("*", "D")];
        let configured = configured.map(|(pattern, title)| {
            (pattern.to_owned(), TemplateConfig { title: Some(title.into()), ..TemplateConfig::default() })
        });
        let dress = Dress { style: Style::Plain, label: ("", "") };
        let templates = Templates::compile(&configured.into(), dress).unwrap();
        let title = |event_type| {
            let event = Event::new(event_type, "{}");
            let mut title = String::new();
            let filled = templates.of(event_type).fill(&event).unwrap();
            filled.title(&mut Text::new(&mut title, Style::Plain, Limit::NONE));
            title
        };
        assert_eq!(title("call.missed"), "C");
        assert_eq!(title("call.queue.full"), "B");
        assert_eq!(title("call.incoming"), "A");
        assert_eq!(title("caller.known"), "D");
        assert_eq!(title("chat.typing"), "D");
    }
}
