//! Changes a few places of JSON text and leaves every other byte as it is: spaces, key order, the text of numbers.
//!
//! ```
//! use jackfield_plugin::edit::{Change, Editor};
//!
//! let mut editor = Editor::default();
//! let secret = editor.add("/cards/*/number").unwrap();
//! let text = r#"{"cards": [{"number":"4111","limit":1.50}], "name":"Ada"}"#;
//! let edited = editor.edit(text, |place, _value| {
//!     assert_eq!(place, secret);
//!     Change::Replace("\"***\"".into())
//! });
//! assert_eq!(edited.unwrap().unwrap(), r#"{"cards": [{"number":"***","limit":1.50}], "name":"Ada"}"#);
//! ```

use crate::Failure;
use crate::pick::{Json, Step, steps};
use crate::scan::Scan;

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// It goes: a member with its key, an element so that later ones move up. The whole text becomes `null`.
    Remove,
    /// This JSON text stands in its place.
    Replace(String),
}

/// The places to change, made once.
#[derive(Debug, Default)]
pub struct Editor {
    root: Node,
    places: usize,
}

#[derive(Debug, Default)]
struct Node {
    places: Vec<usize>,
    children: Vec<(Token, Node)>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Any,
    Step(Step),
}

impl Editor {
    /// Adds a place by its JSON pointer (RFC 6901), where `*` is any key and any element, and answers its number: they count
    /// from zero.
    ///
    /// # Errors
    /// The pointer is neither empty nor starts with `/`, or has a `~` without `0` or `1` after it.
    pub fn add(&mut self, pointer: &str) -> Result<usize, String> {
        let mut node = &mut self.root;
        for step in steps(pointer)? {
            let token = if step.key == "*" { Token::Any } else { Token::Step(step) };
            let at = match node.children.iter().position(|(known, _)| *known == token) {
                Some(at) => at,
                None => {
                    node.children.push((token, Node::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[at].1;
        }
        node.places.push(self.places);
        self.places += 1;
        Ok(self.places - 1)
    }

    /// Asks about each value at one of the places, from the outside in; what is kept is looked into. Where several places meet,
    /// the first that does not keep the value decides. Nothing when nothing changed.
    ///
    /// # Errors
    /// `bad-input`, when the text is broken as JSON.
    pub fn edit(&self, text: &str, ask: impl FnMut(usize, Json<'_>) -> Change) -> Result<Option<String>, Failure> {
        let mut scan = Scan::of(text);
        let mut pass = Pass { text, ask, out: String::new(), copied: 0, changed: false };
        let done = pass.value(&mut scan, &[&self.root]);
        let removed = done.filter(|_| scan.end().is_some()).ok_or_else(|| scan.failure())?;
        if removed {
            return Ok(Some("null".to_owned()));
        }
        pass.out.push_str(&text[pass.copied..]);
        Ok(pass.changed.then_some(pass.out))
    }
}

/// One walk through a text.
struct Pass<'a, F> {
    text: &'a str,
    ask: F,
    out: String,
    /// What is before this of the text is in `out`, or left out.
    copied: usize,
    changed: bool,
}

/// The members or elements around a removed one.
#[derive(Default)]
struct Siblings {
    /// The end of the last one that stays.
    kept: Option<usize>,
    /// The first ones are removed: the next begins where they did.
    leading: bool,
}

impl<F: FnMut(usize, Json<'_>) -> Change> Pass<'_, F> {
    /// Goes past the value here; true when it is to be removed, which is left to whoever knows what is around it.
    fn value<'t>(&mut self, scan: &mut Scan<'t>, nodes: &[&Node]) -> Option<bool> {
        let begin = scan.position();
        let mut places: Vec<usize> = nodes.iter().flat_map(|node| node.places.iter().copied()).collect();
        if !places.is_empty() {
            places.sort_unstable();
            let mut ahead = scan.clone();
            let value = Json::trusted(ahead.value()?);
            for place in places {
                match (self.ask)(place, value) {
                    Change::Keep => {}
                    Change::Remove => {
                        *scan = ahead;
                        return Some(true);
                    }
                    Change::Replace(with) => {
                        *scan = ahead;
                        self.skip_to(begin, scan.position());
                        self.out.push_str(&with);
                        return Some(false);
                    }
                }
            }
        }
        if nodes.iter().all(|node| node.children.is_empty()) {
            scan.skip()?;
            return Some(false);
        }
        let mut siblings = Siblings::default();
        match scan.peek()? {
            b'{' => scan.members(|scan, key| {
                let begin = key.raw.as_ptr() as usize - self.text.as_ptr() as usize - 1;
                let name = key.unescaped()?;
                let below = below(nodes, |step| step.key == name);
                self.sibling(scan, &below, begin, &mut siblings)
            })?,
            b'[' => scan.elements(|scan, index| {
                let below = below(nodes, |step| step.index == Some(index));
                let begin = scan.position();
                self.sibling(scan, &below, begin, &mut siblings)
            })?,
            _ => scan.skip()?,
        }
        Some(false)
    }

    fn sibling(&mut self, scan: &mut Scan<'_>, nodes: &[&Node], begin: usize, siblings: &mut Siblings) -> Option<()> {
        if siblings.leading {
            // The comma after the removed ones, and the space around it, go with them.
            self.copied = begin;
        }
        if !self.value(scan, nodes)? {
            siblings.leading = false;
            siblings.kept = Some(scan.position());
            return Some(());
        }
        // With the comma before it, or, where there is none, the one after it.
        self.skip_to(siblings.kept.unwrap_or(begin), scan.position());
        siblings.leading = siblings.kept.is_none();
        Some(())
    }

    /// Leaves out what is between the two.
    fn skip_to(&mut self, from: usize, to: usize) {
        self.out.push_str(&self.text[self.copied.min(from)..from]);
        self.copied = to;
        self.changed = true;
    }
}

fn below<'n>(nodes: &[&'n Node], fits: impl Fn(&Step) -> bool) -> Vec<&'n Node> {
    let children = nodes.iter().flat_map(|node| node.children.iter());
    let fitting = children.filter(|(token, _)| match token {
        Token::Any => true,
        Token::Step(step) => fits(step),
    });
    fitting.map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(pointers: &[&str], text: &str) -> String {
        let mut editor = Editor::default();
        for pointer in pointers {
            editor.add(pointer).unwrap();
        }
        editor.edit(text, |_, _| Change::Remove).unwrap().unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn what_goes_takes_one_comma_along() {
        let text = r#" { "a":1 , "b" : 2.50,"c":{"d":[1, 2 ,3]} } "#;
        assert_eq!(without(&["/a"], text), r#" { "b" : 2.50,"c":{"d":[1, 2 ,3]} } "#);
        assert_eq!(without(&["/b"], text), r#" { "a":1,"c":{"d":[1, 2 ,3]} } "#);
        assert_eq!(without(&["/c"], text), r#" { "a":1 , "b" : 2.50 } "#);
        assert_eq!(without(&["/a", "/b"], text), r#" { "c":{"d":[1, 2 ,3]} } "#);
        assert_eq!(without(&["/a", "/c"], text), r#" { "b" : 2.50 } "#);
        assert_eq!(without(&["/*"], text), " {  } ");
        assert_eq!(without(&["/c/d/0", "/c/d/2"], text), r#" { "a":1 , "b" : 2.50,"c":{"d":[2]} } "#);
        assert_eq!(without(&["/x", "/c/d/3"], text), text);
        assert_eq!(without(&[""], text), "null");
    }

    #[test]
    fn every_subset_of_an_array_can_go() {
        for gone in 0_u32..32 {
            let pointers: Vec<String> = (0..5).filter(|at| gone >> at & 1 == 1).map(|at| format!("/{at}")).collect();
            let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
            let left: Vec<u32> = (0..5).filter(|at| gone >> at & 1 == 0).collect();
            let edited = without(&pointers, "[0, 1,2 ,3 , 4]");
            assert_eq!(serde_json::from_str::<Vec<u32>>(&edited).unwrap(), left, "{edited}");
        }
    }

    #[test]
    fn an_escaped_key_and_a_repeated_one_are_found_too() {
        assert_eq!(without(&["/a"], r#"{"\u0061":1,"b":2,"a":3}"#), r#"{"b":2}"#);
    }
}
