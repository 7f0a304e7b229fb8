//! Templates: which one an event type gets, and their texts taken apart into literals and placeholders.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jackfield_plugin::pick::Picker;

use crate::catalogue::{ANY, BUILT_IN, BuiltIn};
use crate::config::TemplateConfig;

/// Every template of a step, by what it is for.
pub(crate) struct Templates {
    /// Catalogue types and those that the configuration names, sorted [`by_length`].
    exact: Vec<(String, Template)>,
    /// What types below a prefix (`call.`) get, longest prefix first.
    below: Vec<(String, Template)>,
    other: Template,
}

/// One message, ready to be filled.
pub(crate) struct Template {
    pub(crate) picker: Picker,
    pub(crate) title: Vec<Part>,
    pub(crate) text: Vec<Part>,
    pub(crate) fields: Fields,
}

pub(crate) enum Fields {
    /// Every top-level field of `data`, in its order.
    All,
    Named(Vec<(String, Part)>),
}

pub(crate) enum Part {
    Literal(String),
    /// A slot of the picker.
    Data(usize),
    Event(EventField),
}

#[derive(Clone, Copy)]
pub(crate) enum EventField {
    Type,
    Id,
    Tenant,
    User,
    Session,
    Key,
    Source,
    Time,
}

type Configured = BTreeMap<String, TemplateConfig>;

impl Templates {
    pub(crate) fn compile(configured: &Configured) -> Result<Self, String> {
        let mut exact = BTreeMap::new();
        let mut below = Vec::new();
        for pattern in configured.keys() {
            check_pattern(pattern)?;
            if let Some(prefix) = pattern.strip_suffix('*').filter(|prefix| !prefix.is_empty()) {
                below.push((prefix.to_owned(), compile(configured, pattern, &ANY)?));
            } else if pattern != "*" {
                exact.insert(pattern.clone(), compile(configured, pattern, built_in(pattern))?);
            }
        }
        // In order of text, of two prefixes of one type the longer comes later.
        below.reverse();
        for known in BUILT_IN.iter().filter(|known| !configured.contains_key(known.event_type)) {
            let pattern = below.iter().map(|(prefix, _)| prefix).find(|prefix| known.event_type.starts_with(*prefix));
            let pattern = pattern.map_or("*".to_owned(), |prefix| format!("{prefix}*"));
            exact.insert(known.event_type.to_owned(), compile(configured, &pattern, known)?);
        }
        let mut exact: Vec<(String, Template)> = exact.into_iter().collect();
        exact.sort_by(|(one, _), (other, _)| by_length(one, other));
        Ok(Self { exact, below, other: compile(configured, "*", &ANY)? })
    }

    pub(crate) fn of(&self, event_type: &str) -> &Template {
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
fn compile(configured: &Configured, pattern: &str, built_in: &BuiltIn) -> Result<Template, String> {
    let own = configured.get(pattern).cloned().unwrap_or_default();
    let at = |part: &str, why: String| format!("`templates.{pattern}.{part}`: {why}");
    let mut picker = Picker::default();
    let title = own.title.as_deref().unwrap_or(built_in.title);
    let title = parse(title, &mut picker).map_err(|why| at("title", why))?;
    let text = own.text.as_deref().or(built_in.text).unwrap_or("");
    let text = parse(text, &mut picker).map_err(|why| at("text", why))?;
    let named: Option<Vec<&str>> = match &own.fields {
        Some(fields) => Some(fields.iter().map(String::as_str).collect()),
        None => built_in.fields.map(<[&str]>::to_vec),
    };
    let fields = match named {
        None => Fields::All,
        Some(named) => {
            let fields = named.into_iter().map(|name| Ok((label(name), placeholder(name, &mut picker)?)));
            Fields::Named(fields.collect::<Result<_, String>>().map_err(|why| at("fields", why))?)
        }
    };
    Ok(Template { picker, title, text, fields })
}

/// Takes a template's text apart.
fn parse(text: &str, picker: &mut Picker) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if from.starts_with("{{") || from.starts_with("}}") {
            literal.push_str(&from[..1]);
            rest = &from[2..];
        } else if let Some(inside) = from.strip_prefix('{') {
            let Some((name, after)) = inside.split_once('}') else {
                return Err(format!("`{from}` is not closed: add `}}`, or write `{{{{` for a brace"));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(placeholder(name, picker)?);
            rest = after;
        } else {
            literal.push('}');
            rest = &from[1..];
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// Reads what stands between braces, or in `fields`.
fn placeholder(name: &str, picker: &mut Picker) -> Result<Part, String> {
    if name.starts_with('/') {
        return picker.add(name).map(Part::Data);
    }
    if let Some(field) = name.strip_prefix("event.") {
        return EventField::parse(field).map(Part::Event).ok_or_else(|| {
            format!("`{name}` is unknown: use event.type, id, tenant, user, session, key, source or time")
        });
    }
    // Not `is_alphanumeric`: its tables would be a tenth of the component.
    let plain = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "`{name}` is no placeholder: use a field of data (`caller`), a JSON pointer (`/customer/name`), `event.type`, or \
             `{{{{` for a brace"
        ));
    }
    picker.add(&format!("/{name}")).map(Part::Data)
}

impl EventField {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "id" => Self::Id,
            "tenant" => Self::Tenant,
            "user" => Self::User,
            "session" => Self::Session,
            "key" => Self::Key,
            "source" => Self::Source,
            "time" => Self::Time,
            _ => return None,
        })
    }
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
        let templates = Templates::compile(&configured.into()).unwrap();
        let title = |event_type| match &templates.of(event_type).title[..] {
            [Part::Literal(title)] => title.clone(),
            _ => String::new(),
        };
        assert_eq!(title("call.missed"), "C");
        assert_eq!(title("call.queue.full"), "B");
        assert_eq!(title("call.incoming"), "A");
        assert_eq!(title("caller.known"), "D");
        assert_eq!(title("chat.typing"), "D");
    }
}
