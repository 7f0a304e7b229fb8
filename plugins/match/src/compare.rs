//! One value against one constant. Values are looked at as their JSON text; only arrays and objects are parsed.

use std::borrow::Cow;
use std::cmp::Ordering;

use jackfield_plugin::pick::Json;
use serde_json::Value;
use serde_json::value::RawValue;

/// What a condition asks of the value at its place.
pub(crate) enum Test {
    Exists(bool),
    Equals(Constant),
    Differs(Constant),
    OneOf(Vec<Constant>),
    Order(Order, Constant),
    Prefix(String),
    Contains(Constant),
}

#[derive(Clone, Copy)]
pub(crate) enum Order {
    Lt,
    Lte,
    Gt,
    Gte,
}

/// A value of the configuration.
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Tree(Value),
}

/// A value of the event. An absent one is null.
pub(crate) enum Operand<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    /// An array or object, as JSON text.
    Tree(&'a str),
}

/// Whole numbers of 64 bits compare exactly; all others as floats.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Whole(i64),
    Float(f64),
}

impl Test {
    pub(crate) fn holds(&self, operand: &Operand<'_>) -> bool {
        match self {
            Self::Exists(expected) => matches!(operand, Operand::Null) != *expected,
            Self::Equals(constant) => constant.equals(operand),
            Self::Differs(constant) => !constant.equals(operand),
            Self::OneOf(constants) => constants.iter().any(|constant| constant.equals(operand)),
            Self::Order(order, constant) => operand.compare(constant).is_some_and(|ordering| order.accepts(ordering)),
            Self::Prefix(prefix) => matches!(operand, Operand::Text(text) if text.starts_with(prefix.as_str())),
            Self::Contains(constant) => operand.contains(constant),
        }
    }
}

impl Order {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
        }
    }
}

impl<'a> Operand<'a> {
    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(crate) fn json(json: Json<'a>) -> Self {
        match json.text().as_bytes().first() {
            Some(b'"') => json.as_str().map_or(Self::Null, Self::Text),
            Some(b'{' | b'[') => Self::Tree(json.text()),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            _ => Number::parse(json.text()).map_or(Self::Null, Self::Number),
        }
    }

    fn compare(&self, constant: &Constant) -> Option<Ordering> {
        match (self, constant) {
            (Self::Number(left), Constant::Number(right)) => left.compare(*right),
            (Self::Text(left), Constant::Text(right)) => Some(left.as_ref().cmp(right)),
            _ => None,
        }
    }

    /// Text contains text; an array contains an element.
    fn contains(&self, constant: &Constant) -> bool {
        match (self, constant) {
            (Self::Text(text), Constant::Text(part)) => text.contains(part.as_str()),
            (Self::Tree(text), _) => serde_json::from_str::<Vec<&RawValue>>(text)
                .is_ok_and(|elements| elements.into_iter().any(|each| constant.equals(&Operand::json(each.into())))),
            _ => false,
        }
    }
}

impl Constant {
    fn equals(&self, operand: &Operand<'_>) -> bool {
        match (self, operand) {
            (Self::Null, Operand::Null) => true,
            (Self::Bool(left), Operand::Bool(right)) => left == right,
            (Self::Number(left), Operand::Number(right)) => left.compare(*right) == Some(Ordering::Equal),
            (Self::Text(left), Operand::Text(right)) => left == right,
            (Self::Tree(left), Operand::Tree(right)) => {
                serde_json::from_str::<Value>(right).is_ok_and(|right| *left == right)
            }
            _ => false,
        }
    }
}

impl From<Value> for Constant {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Number(Number::Whole(whole)),
                (None, Some(float)) => Self::Number(Number::Float(float)),
                (None, None) => Self::Null,
            },
            Value::String(text) => Self::Text(text),
            tree @ (Value::Array(_) | Value::Object(_)) => Self::Tree(tree),
        }
    }
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        // The parser that is linked anyway, not the one of `str::parse` with its tables.
        serde_json::from_str(text).ok().map(Self::Float)
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            (left, right) => left.as_float().partial_cmp(&right.as_float()),
        }
    }

    fn as_float(self) -> f64 {
        match self {
            // Beyond 2^53 this rounds, which is as good as the other side, a float, can be.
            Self::Whole(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }
}
