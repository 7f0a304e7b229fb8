//! Which template an event type gets, and their texts prepared for one receiver.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use jackfield_plugin::pick::Picker;
use jackfield_plugin::template::{self, Place, Template};
use jackfield_plugin::text::{Prepared, Style};
use serde::Deserialize;

use crate::catalogue::{self, ANY, BUILT_IN, BuiltIn, by_length};
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
    configured: Configured,
    dress: Dress,
    /// Types that the configuration names, sorted [`by_length`].
    exact: Vec<(String, Message)>,
    /// What types below a prefix (`call.`) get, longest prefix first.
    below: Vec<(String, Message)>,
    other: Message,
    /// The built-in ones. Most steps see a few of the catalogue's types, so each is prepared when its type first comes.
    built_in: Vec<OnceCell<Box<Message>>>,
}

type Configured = BTreeMap<String, TemplateConfig>;

impl Templates {
    /// Prepares the messages of the configuration.
    ///
    /// # Errors
    /// A pattern that matches nothing, or a text that cannot be taken apart, with its place.
    pub fn compile(configured: BTreeMap<String, TemplateConfig>, dress: Dress) -> Result<Self, String> {
        let mut exact = Vec::new();
        let mut below = Vec::new();
        for pattern in configured.keys() {
            check_pattern(pattern)?;
            if let Some(prefix) = pattern.strip_suffix('*').filter(|prefix| !prefix.is_empty()) {
                below.push((prefix.to_owned(), compile(&configured, pattern, &ANY, dress)?));
            } else if pattern != "*" {
                let built_in = catalogue::find(pattern).map_or(&ANY, |at| &BUILT_IN[at]);
                exact.push((pattern.clone(), compile(&configured, pattern, built_in, dress)?));
            }
        }
        // In order of text, of two prefixes of one type the longer comes later.
        below.reverse();
        exact.sort_by(|(one, _), (other, _)| by_length(one, other));
        let other = compile(&configured, "*", &ANY, dress)?;
        let built_in = BUILT_IN.iter().map(|_| OnceCell::new()).collect();
        Ok(Self { configured, dress, exact, below, other, built_in })
    }

    /// The template of this type.
    pub fn of(&self, event_type: &str) -> &Message {
        if let Ok(at) = self.exact.binary_search_by(|(known, _)| by_length(known, event_type)) {
            return &self.exact[at].1;
        }
        if let Some(at) = catalogue::find(event_type) {
            return self.built_in[at].get_or_init(|| Box::new(self.built_in(&BUILT_IN[at])));
        }
        self.below(event_type).map_or(&self.other, |(_, template)| template)
    }

    fn below(&self, event_type: &str) -> Option<&(String, Message)> {
        self.below.iter().find(|(prefix, _)| event_type.starts_with(prefix.as_str()))
    }

    /// A built-in message, with what the configuration says of a pattern that its type matches.
    fn built_in(&self, known: &BuiltIn) -> Message {
        let pattern = self.below(known.event_type).map_or("*".to_owned(), |(prefix, _)| format!("{prefix}*"));
        compile(&self.configured, &pattern, known, self.dress)
            .expect("every part was compiled before: the configuration's with its pattern, the built-in ones in a test")
    }
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
    let nothing = TemplateConfig::default();
    let own = configured.get(pattern).unwrap_or(&nothing);
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
        let templates = Templates::compile(configured.into(), dress).unwrap();
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

    #[test]
    fn every_type_of_the_catalogue_has_its_own_message() {
        let dress = Dress { style: Style::Markdown, label: ("*", "*") };
        let templates = Templates::compile(Configured::new(), dress).unwrap();
        let found: Vec<_> = BUILT_IN.iter().map(|known| std::ptr::from_ref(templates.of(known.event_type))).collect();
        for (at, message) in found.iter().enumerate() {
            assert!(!std::ptr::eq(*message, &templates.other) && !found[..at].contains(message), "{at}");
        }
    }

    #[test]
    fn a_part_that_a_pattern_leaves_out_is_the_built_in_one() {
        let configured =
            ("chat.*".to_owned(), TemplateConfig { title: Some("Chat".into()), ..TemplateConfig::default() });
        let dress = Dress { style: Style::Plain, label: ("", "") };
        let templates = Templates::compile([configured].into(), dress).unwrap();
        let event = Event::new("chat.message", r#"{"from":"Ada","text":"Hello"}"#);
        let filled = templates.of("chat.message").fill(&event).unwrap();
        let (mut title, mut text) = (String::new(), String::new());
        filled.title(&mut Text::new(&mut title, Style::Plain, Limit::NONE));
        filled.text(&mut Text::new(&mut text, Style::Plain, Limit::NONE));
        assert_eq!((title.as_str(), text.as_str()), ("Chat", "Hello"));
    }
}
