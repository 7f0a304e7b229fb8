//! Reads a few values out of JSON text without building the whole of it.
//!
//! Most plugins look at two or three places of a payload. A [`Picker`] is made once, from JSON pointers, and then walks each
//! text once, skipping what nobody asked for and copying nothing: what it finds are slices of the text.
//!
//! The router only hands out JSON, so this finds where values end and does not judge what is in a number or an escape. It was
//! serde's walk once, which took twice as long in wasm.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::Failure;
use crate::scan::{Key, Scan};

/// One JSON value, as its text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Takes a text as the one value that it is.
    ///
    /// # Errors
    /// `bad-input`, when the text is broken as JSON.
    pub fn parse(text: &'a str) -> Result<Self, Failure> {
        let mut scan = Scan::of(text);
        let value = scan.value().filter(|_| scan.end().is_some()).map(Self);
        value.ok_or_else(|| scan.failure())
    }

    /// For a text that was just scanned as one value.
    pub(crate) fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    /// The value's text as it was sent: key order, number text, escapes.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// True for `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The string's content, unescaped; nothing for other kinds. Borrows where nothing was escaped.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.as_bytes().contains(&b'\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str::<String>(self.0).ok().map(Cow::Owned)
    }

    /// The value as people read it: text as it is, nothing for null, and JSON for all else.
    pub fn words(self) -> Cow<'a, str> {
        match self.as_str() {
            Some(text) => text,
            None if self.is_null() => Cow::Borrowed(""),
            None => Cow::Borrowed(self.0),
        }
    }

    /// Shows each member of an object, in order; nothing for other kinds.
    ///
    /// # Errors
    /// `bad-input`, when the text is broken as JSON.
    pub fn each_member(self, mut show: impl FnMut(Cow<'a, str>, Json<'a>)) -> Result<(), Failure> {
        let mut scan = Scan::of(self.0);
        if scan.peek() != Some(b'{') {
            return Ok(());
        }
        scan.members(|scan, key| {
            let value = Json(scan.value()?);
            show(key.unescaped()?, value);
            Some(())
        })
        .ok_or_else(|| scan.failure())
    }
}

impl<'a> Json<'a> {
    /// Shows each element of an array, in order; nothing for other kinds.
    ///
    /// # Errors
    /// `bad-input`, when the text is broken as JSON.
    pub fn each_element(self, mut show: impl FnMut(Json<'a>)) -> Result<(), Failure> {
        let mut scan = Scan::of(self.0);
        if scan.peek() != Some(b'[') {
            return Ok(());
        }
        scan.elements(|scan, _| {
            show(Json(scan.value()?));
            Some(())
        })
        .ok_or_else(|| scan.failure())
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }
}

/// The places to look at, as a tree of what their pointers share.
#[derive(Debug, Default)]
pub struct Picker {
    root: Node,
    slots: usize,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(Step, Node)>,
}

/// One reference token. Whether it names a key or counts elements is known only when the value is seen.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) key: String,
    pub(crate) index: Option<usize>,
}

impl Picker {
    /// Adds a place by its JSON pointer (RFC 6901) and answers where [`pick`](Self::pick) puts it. The same pointer twice is
    /// one place.
    ///
    /// # Errors
    /// The pointer is neither empty nor starts with `/`, or has a `~` without `0` or `1` after it.
    pub fn add(&mut self, pointer: &str) -> Result<usize, String> {
        let mut node = &mut self.root;
        for step in steps(pointer)? {
            let at = match node.children.iter().position(|(known, _)| *known == step) {
                Some(at) => at,
                None => {
                    node.children.push((step, Node::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        let slots = &mut self.slots;
        Ok(*node.slot.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        }))
    }

    /// True when no place was added: there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Finds every place in this text, by the numbers that [`add`](Self::add) gave. Of repeated keys the last counts.
    ///
    /// # Errors
    /// `bad-input`, when the text is broken as JSON: cut short, or its brackets, quotes and commas do not fit.
    ///
    /// ```
    /// let mut picker = jackfield_plugin::pick::Picker::default();
    /// let queue = picker.add("/call/queue").unwrap();
    /// let first = picker.add("/tags/0").unwrap();
    /// let found = picker.pick(r#"{"call":{"queue":"sales"},"tags":["vip"]}"#).unwrap();
    /// assert_eq!(found[queue].unwrap().as_str().as_deref(), Some("sales"));
    /// assert_eq!(found[first].unwrap().text(), "\"vip\"");
    /// ```
    pub fn pick<'a>(&self, text: &'a str) -> Result<Vec<Option<Json<'a>>>, Failure> {
        let mut found = vec![None; self.slots];
        let mut scan = Scan::of(text);
        scan.walk(&self.root, &mut found).and_then(|()| scan.end()).ok_or_else(|| scan.failure())?;
        Ok(found)
    }
}

pub(crate) fn steps(pointer: &str) -> Result<Vec<Step>, String> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(tokens) = pointer.strip_prefix('/') else {
        return Err(format!("`{pointer}` is no JSON pointer: start it with `/`, e.g. `/{pointer}`"));
    };
    tokens
        .split('/')
        .map(|token| {
            step(token).ok_or_else(|| {
                format!("`{pointer}` is no JSON pointer: write `~` as `~0` and `/` inside a key as `~1`")
            })
        })
        .collect()
}

fn step(token: &str) -> Option<Step> {
    let mut key = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(next) = rest.next() {
        key.push(match next {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            plain => plain,
        });
    }
    let counts = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    let index = if counts { key.parse().ok() } else { None };
    Some(Step { key, index })
}

impl Node {
    /// Forgets what an earlier value of the same key held.
    fn forget(&self, found: &mut [Option<Json<'_>>]) {
        if let Some(slot) = self.slot {
            found[slot] = None;
        }
        for (_, child) in &self.children {
            child.forget(found);
        }
    }
}

impl<'a> Scan<'a> {
    /// Finds what `node` asks for in the value here, and goes past it.
    fn walk(&mut self, node: &Node, found: &mut [Option<Json<'a>>]) -> Option<()> {
        let Some(slot) = node.slot else {
            return self.walk_into(node, found);
        };
        let value = self.value()?;
        found[slot] = Some(Json(value));
        if node.children.is_empty() {
            return Some(());
        }
        // Asked for as a whole and in part: the part is read from the whole.
        Scan::of(value).walk_into(node, found)
    }

    fn walk_into(&mut self, node: &Node, found: &mut [Option<Json<'a>>]) -> Option<()> {
        match self.peek()? {
            b'{' => self.members(|scan, key| match node.child(key) {
                None => scan.skip(),
                Some(child) => {
                    child.forget(found);
                    scan.walk(child, found)
                }
            }),
            b'[' => {
                self.elements(|scan, index| match node.children.iter().find(|(step, _)| step.index == Some(index)) {
                    None => scan.skip(),
                    Some((_, child)) => scan.walk(child, found),
                })
            }
            _ => self.skip(),
        }
    }
}

impl Node {
    fn child(&self, key: Key<'_>) -> Option<&Node> {
        let key = if key.escaped { key.unescaped()? } else { Cow::Borrowed(key.raw) };
        self.children.iter().find(|(step, _)| same(&step.key, &key)).map(|(_, node)| node)
    }
}

/// Whether two keys are equal: up to 16 bytes by their two ends, which may overlap. In wasm a comparison of unknown length
/// goes byte by byte, and asks for the deadline at each.
fn same(one: &str, other: &str) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one.len() == other.len()
        && match one.len() {
            4..8 => ends::<4>(one, other),
            8..=16 => ends::<8>(one, other),
            _ => one == other,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick_one<'a>(pointer: &str, text: &'a str) -> Option<&'a str> {
        let mut picker = Picker::default();
        let slot = picker.add(pointer).unwrap();
        picker.pick(text).unwrap()[slot].map(Json::text)
    }

    #[test]
    fn a_pointer_finds_keys_elements_and_the_whole() {
        let text = r#" {"a":{"b":[10,{"c/d":1.50}],"~":"x"},"0":true} "#;
        assert_eq!(pick_one("/a/b/0", text), Some("10"));
        assert_eq!(pick_one("/a/b/1/c~1d", text), Some("1.50"));
        assert_eq!(pick_one("/a/~0", text), Some("\"x\""));
        assert_eq!(pick_one("/0", text), Some("true"));
        assert_eq!(pick_one("", text), Some(text.trim()));
        assert_eq!(pick_one("/a/b/01", text), None);
        assert_eq!(pick_one("/a/b/c", text), None);
        assert_eq!(pick_one("/0/deeper", text), None);
    }

    #[test]
    fn long_text_is_passed_whatever_is_in_it() {
        for length in 0..40 {
            let filler: String = "é!#[{]}~".chars().cycle().take(length).collect();
            let text = format!(r#"{{"{filler}":["{filler}",{{"{filler}":"\\\"{filler}"}}],"wanted":{length}}}"#);
            assert_eq!(pick_one("/wanted", &text), Some(length.to_string().as_str()), "{text}");
        }
    }

    #[test]
    fn an_escaped_key_is_the_same_key() {
        assert_eq!(pick_one("/café", r#"{"caf\u00e9":1}"#), Some("1"));
    }

    #[test]
    fn the_last_of_repeated_keys_counts_as_a_whole() {
        let text = r#"{"a":{"b":1},"a":{"c":2}}"#;
        assert_eq!(pick_one("/a/b", text), None);
        assert_eq!(pick_one("/a/c", text), Some("2"));
    }

    #[test]
    fn a_place_and_a_part_of_it_are_both_found() {
        let mut picker = Picker::default();
        let whole = picker.add("/a").unwrap();
        let part = picker.add("/a/b").unwrap();
        assert_eq!(picker.add("/a").unwrap(), whole);
        let found = picker.pick(r#"{"a":{"b":1}}"#).unwrap();
        assert_eq!(found[whole].unwrap().text(), r#"{"b":1}"#);
        assert_eq!(found[part].unwrap().text(), "1");
    }

    #[test]
    fn an_object_shows_its_members_in_order() {
        let mut seen = Vec::new();
        let object = Json::parse(r#" {"b":{"x":"}"}, "\u0061" : [1,2] } "#).unwrap();
        object.each_member(|key, value| seen.push((key.into_owned(), value.text()))).unwrap();
        assert_eq!(seen, [("b".to_owned(), r#"{"x":"}"}"#), ("a".to_owned(), "[1,2]")]);
    }

    #[test]
    fn what_is_no_json_or_no_pointer_is_refused() {
        let mut picker = Picker::default();
        assert!(picker.add("a").unwrap_err().contains("`/a`"));
        assert!(picker.add("/a~2").unwrap_err().contains("~0"));
        assert_eq!(picker.pick(r#"{"a":"#).unwrap_err().code, "bad-input");
        for broken in [
            "",
            "{} {}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1,}",
            "[1 2]",
            "\"a",
            "\"a\\",
            "{\"a\":[1}",
            "}",
        ] {
            assert_eq!(picker.pick(broken).map_err(|failure| failure.code), Err("bad-input".into()), "{broken}");
        }
    }

    #[test]
    fn keys_of_every_length_are_told_apart_at_every_byte() {
        for length in 0..40 {
            let key = "k".repeat(length);
            assert!(same(&key, &key.clone()));
            assert!(!same(&key, &format!("{key}k")));
            for at in 0..length {
                let mut other = key.clone().into_bytes();
                other[at] = b'x';
                assert!(!same(&key, std::str::from_utf8(&other).unwrap()), "{length} {at}");
            }
        }
    }
}
