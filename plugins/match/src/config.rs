//! The configuration as it is written, and its checks: what is wrong is named by its place, with what to do.

use jackfield_plugin::Event;
use jackfield_plugin::pick::Picker;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::compare::{Constant, Order, Test};
use crate::{Place, Rule};

/// Groups of conditions; all that are given must hold, and without any everything matches.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    all: Option<Vec<Condition>>,
    any: Option<Vec<Condition>>,
    not: Option<Vec<Condition>>,
}

/// One place with its operators, or a nested group.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Condition {
    pointer: Option<String>,
    field: Option<Field>,
    #[serde(deserialize_with = "even_null")]
    eq: Option<Value>,
    #[serde(deserialize_with = "even_null")]
    ne: Option<Value>,
    lt: Option<Value>,
    lte: Option<Value>,
    gt: Option<Value>,
    gte: Option<Value>,
    r#in: Option<Vec<Value>>,
    exists: Option<bool>,
    prefix: Option<String>,
    contains: Option<Value>,
    all: Option<Vec<Condition>>,
    any: Option<Vec<Condition>>,
    not: Option<Vec<Condition>>,
}

/// A field of the envelope.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Field {
    Type,
    User,
    Session,
    Key,
    Source,
}

impl Field {
    pub(crate) fn of(self, event: &Event) -> Option<&str> {
        match self {
            Self::Type => Some(&event.event_type),
            Self::User => event.user.as_deref(),
            Self::Session => event.session.as_deref(),
            Self::Key => event.key.as_deref(),
            Self::Source => event.source.as_deref(),
        }
    }
}

/// Keeps `null` apart from absent: `"eq": null` asks for null.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Config {
    pub(crate) fn compile(self, picker: &mut Picker) -> Result<Rule, String> {
        group(self.all, self.any, self.not, "", picker).map(Rule::All)
    }
}

type Conditions = Option<Vec<Condition>>;
type MakeRule = fn(Vec<Rule>) -> Rule;

fn group(
    all: Conditions,
    any: Conditions,
    not: Conditions,
    at: &str,
    picker: &mut Picker,
) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    let kinds: [(&str, Conditions, MakeRule); 3] =
        [("all", all, Rule::All), ("any", any, Rule::Any), ("not", not, Rule::Not)];
    for (name, conditions, rule) in kinds {
        let Some(conditions) = conditions else { continue };
        let at = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        if conditions.is_empty() {
            return Err(format!("`{at}` is empty: give it a condition, or leave it out"));
        }
        let compiled: Result<Vec<Rule>, String> = conditions
            .into_iter()
            .enumerate()
            .map(|(n, condition)| condition.compile(&format!("{at}[{n}]"), picker))
            .collect();
        rules.push(rule(compiled?));
    }
    Ok(rules)
}

impl Condition {
    fn compile(mut self, at: &str, picker: &mut Picker) -> Result<Rule, String> {
        let mut rules = group(self.all.take(), self.any.take(), self.not.take(), at, picker)?;
        let is_group = !rules.is_empty();
        let place = match (self.pointer.take(), self.field) {
            (Some(pointer), None) => {
                Some(Place::Data(picker.add(&pointer).map_err(|why| format!("`{at}.pointer`: {why}"))?))
            }
            (None, Some(field)) => Some(Place::Envelope(field)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(format!("`{at}` has `pointer` and `field`: keep one")),
        };
        let tests = self.tests(at)?;
        match (place, is_group, tests.is_empty()) {
            (None, true, true) => {}
            (Some(place), false, false) => rules.extend(tests.into_iter().map(|test| Rule::Test(place, test))),
            (_, true, _) => {
                return Err(format!("`{at}` is a group and a test: move the test into its `all`"));
            }
            (Some(_), false, true) => {
                return Err(format!(
                    "`{at}` asks nothing: add eq, ne, lt, lte, gt, gte, in, exists, prefix or contains"
                ));
            }
            (None, false, _) => {
                return Err(format!("`{at}` looks nowhere: add `pointer` (into data) or `field` (of the envelope)"));
            }
        }
        // The usual condition is one test: no group around it to walk for every event.
        if rules.len() == 1 {
            return Ok(rules.remove(0));
        }
        Ok(Rule::All(rules))
    }

    fn tests(self, at: &str) -> Result<Vec<Test>, String> {
        let mut tests = Vec::new();
        tests.extend(self.exists.map(Test::Exists));
        tests.extend(self.eq.map(|value| Test::Equals(value.into())));
        tests.extend(self.ne.map(|value| Test::Differs(value.into())));
        tests.extend(self.r#in.map(|values| Test::OneOf(values.into_iter().map(Constant::from).collect())));
        tests.extend(self.prefix.map(Test::Prefix));
        tests.extend(self.contains.map(|value| Test::Contains(value.into())));
        let orders = [
            ("lt", self.lt, Order::Lt),
            ("lte", self.lte, Order::Lte),
            ("gt", self.gt, Order::Gt),
            ("gte", self.gte, Order::Gte),
        ];
        for (name, value, order) in orders {
            match value.map(Constant::from) {
                None => {}
                Some(constant @ (Constant::Number(_) | Constant::Text(_))) => tests.push(Test::Order(order, constant)),
                Some(_) => return Err(format!("`{at}.{name}` has no order: give it a number or text")),
            }
        }
        Ok(tests)
    }
}
