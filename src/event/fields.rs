//! Reading a JSON object sent by somebody: each field is taken by name and rule, all faults are collected, and a field
//! that nobody takes is refused by name. Nothing here knows what a status code is.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

/// What is wrong with a body that is JSON but not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>().join("; "))]
pub struct Invalid {
    pub errors: Vec<FieldError>,
}

impl Invalid {
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { errors: vec![FieldError { field: field.into(), message: message.into() }] }
    }
}

/// The fields of one JSON object, to be taken one by one and then [`Fields::finish`]ed.
pub struct Fields<'a> {
    values: Vec<(String, &'a RawValue)>,
    errors: Vec<FieldError>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::with_capacity(8);
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Object).map(|values| Self { values, errors: Vec::new() })
    }
}

impl<'a> Fields<'a> {
    /// Takes a field's JSON text; `null` is as absent. A field given twice is a fault, since readers of JSON differ on
    /// which one counts.
    pub fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let mut found = None;
        let mut twice = false;
        self.values.retain(|(field, value)| {
            if field == name {
                twice |= found.replace(*value).is_some();
            }
            field != name
        });
        if twice {
            self.fault(name, "is given twice");
        }
        found.filter(|value| value.get() != "null")
    }

    /// Takes a field that is there and `null`, for the few where that means something else than absent.
    pub fn take_null(&mut self, name: &str) -> bool {
        let before = self.values.len();
        self.values.retain(|(field, value)| field != name || value.get() != "null");
        self.values.len() < before
    }

    /// Takes an optional field of any deserialisable type; `expected` finishes the sentence "must be …".
    pub fn optional<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        let raw = self.raw(name)?;
        serde_json::from_str(raw.get()).map_err(|_| self.fault(name, format!("must be {expected}"))).ok()
    }

    /// Takes an optional text and passes it through its rule.
    pub fn text<T, E: fmt::Display>(&mut self, name: &str, rule: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text: String = self.optional(name, "a string")?;
        rule(&text).map_err(|message| self.fault(name, message.to_string())).ok()
    }

    /// Takes a number within bounds, both included.
    pub fn number(&mut self, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let number = self.optional(name, &expected)?;
        if !bounds.contains(&number) {
            self.fault(name, format!("must be {expected}"));
            return None;
        }
        Some(number)
    }

    /// The fields that nobody has taken yet, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(field, _)| field.as_str())
    }

    /// Whether nobody has taken this field yet, and it is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(field, value)| field == name && value.get() != "null")
    }

    /// Takes all fields but these unread: for objects that may hold what does not concern us.
    pub fn keep(&mut self, names: &[&str]) {
        self.values.retain(|(field, _)| names.contains(&field.as_str()));
    }

    pub fn require<T>(&mut self, name: &str, value: Option<T>) -> Option<T> {
        // A field that was there but wrong has its fault already.
        if value.is_none() && !self.errors.iter().any(|error| error.field == name) {
            self.fault(name, "is required");
        }
        value
    }

    /// A fault for each of these that is not there, without taking any.
    pub fn expect(&mut self, names: &[&str]) {
        for name in names {
            if !self.has(name) {
                self.fault(*name, "is required");
            }
        }
    }

    pub fn fault(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    /// # Errors
    /// All faults found so far, and each field that was not taken.
    pub fn finish(mut self) -> Result<(), Invalid> {
        for (field, _) in std::mem::take(&mut self.values) {
            self.fault(field, "is not a field of this object");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Invalid { errors: self.errors }) }
    }
}
