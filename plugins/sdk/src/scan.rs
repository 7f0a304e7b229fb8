//! Goes through JSON text value by value, without building anything: where each key and value begins and ends.

use std::borrow::Cow;

use crate::{Failure, words};

/// A position in a text. Nothing, anywhere below, means that the text is broken there.
#[derive(Clone)]
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// A key between its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Key<'a> {
    pub(crate) fn unescaped(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        serde_json::from_str::<String>(&format!("\"{}\"", self.raw)).ok().map(Cow::Owned)
    }
}

impl<'a> Scan<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let mut scan = Self { text, at: 0 };
        scan.space();
        scan
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure::bad_input(format!("data is not JSON: it breaks at byte {}", self.at))
    }

    /// In bytes from the beginning of the text.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Goes to the next of these bytes, and answers it. None of them is zero.
    fn advance_to<const N: usize>(&mut self, marks: [u8; N]) -> Option<u8> {
        let hits = |word: u64| marks.into_iter().fold(0, |hits, mark| hits | words::equal(word, mark));
        let mut rest = self.text.as_bytes().get(self.at..)?;
        while let Some((word, after)) = rest.split_first_chunk() {
            let hits = hits(u64::from_le_bytes(*word));
            if hits != 0 {
                self.at = self.text.len() - rest.len() + words::first(hits);
                return self.peek();
            }
            rest = after;
        }
        let hits = hits(words::tail(rest));
        self.at = if hits == 0 { self.text.len() } else { self.text.len() - rest.len() + words::first(hits) };
        self.peek()
    }

    pub(crate) fn end(&mut self) -> Option<()> {
        self.space();
        self.peek().is_none().then_some(())
    }

    /// Goes through an object; `member` is called at each value and must go past it.
    pub(crate) fn members(&mut self, mut member: impl FnMut(&mut Self, Key<'a>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            member(self, key)?;
            self.space();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    /// Goes through an array; `element` is called at each value and must go past it.
    pub(crate) fn elements(&mut self, mut element: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        self.space();
        if self.take(b']').is_some() {
            return Some(());
        }
        for index in 0.. {
            element(self, index)?;
            self.space();
            if self.take(b']').is_some() {
                break;
            }
            self.take(b',')?;
            self.space();
        }
        Some(())
    }

    /// The value here, as its text.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        let from = self.at;
        self.skip()?;
        self.text.get(from..self.at)
    }

    /// Goes past the value here, without recursion: payloads may be nested as deep as they like.
    pub(crate) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => {
                let mut open = 0_usize;
                loop {
                    match self.advance_to([b'"', b'{', b'}', b'[', b']'])? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => open += 1,
                        _ => open -= 1,
                    }
                    self.at += 1;
                    if open == 0 {
                        return Some(());
                    }
                }
            }
            _ => {
                let from = self.at;
                while matches!(self.peek(), Some(b'a'..=b'z' | b'0'..=b'9' | b'-' | b'+' | b'.' | b'E')) {
                    self.at += 1;
                }
                (self.at > from).then_some(())
            }
        }
    }

    /// Goes past the string here and answers what is between its quotes.
    fn string(&mut self) -> Option<Key<'a>> {
        self.take(b'"')?;
        let from = self.at;
        let mut escaped = false;
        while self.advance_to([b'"', b'\\'])? == b'\\' {
            escaped = true;
            self.at += 2;
        }
        let raw = self.text.get(from..self.at)?;
        self.at += 1;
        Some(Key { raw, escaped })
    }
}
