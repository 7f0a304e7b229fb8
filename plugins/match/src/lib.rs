//! The stock filter `match`: delivers only events that fulfil conditions on their payload or envelope.
//!
//! ```json
//! {"all": [{"pointer": "/queue", "eq": "sales"}, {"pointer": "/duration_s", "gte": 30, "lt": 600}],
//!  "any": [{"field": "type", "prefix": "call."}, {"field": "source", "in": ["pbx-1", "pbx-2"]}],
//!  "not": [{"pointer": "/caller", "eq": "anonymous"}]}
//! ```
//!
//! `all`: every condition holds; `any`: at least one does; `not`: none does; what is given must all be so, and a condition may
//! itself be such a group. A condition looks at one place, a JSON pointer into `data` or a field of the envelope, and all its
//! operators must hold. Absent and null are the same; numbers compare as numbers, text by its bytes; different kinds are
//! unequal and have no order.
//!
//! It reads only the places it is asked about, and nothing when the envelope already decides.

mod compare;
mod config;

use jackfield_plugin::pick::{Json, Picker};
use jackfield_plugin::{Destination, Event, Failure, Filter};

use crate::compare::{Operand, Test};
pub use crate::config::Config;
use crate::config::Field;

/// One step's conditions, ready to be asked.
pub struct Match {
    rule: Rule,
    picker: Picker,
}

/// The conditions as a tree.
enum Rule {
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Not(Vec<Rule>),
    Test(Place, Test),
}

/// Where a test looks: a slot of the picker, or the envelope.
#[derive(Clone, Copy)]
enum Place {
    Data(usize),
    Envelope(Field),
}

impl Filter for Match {
    type Config = Config;
    const NAME: Option<&'static str> = Some("match");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        let mut picker = Picker::default();
        let rule = config.compile(&mut picker)?;
        Ok(Self { rule, picker })
    }

    fn matches(&self, event: &Event, _to: &Destination) -> Result<bool, Failure> {
        Look { event, picker: &self.picker, found: None }.holds(&self.rule)
    }
}

/// One event, read as far as the conditions need it.
struct Look<'a> {
    event: &'a Event,
    picker: &'a Picker,
    found: Option<Vec<Option<Json<'a>>>>,
}

impl<'a> Look<'a> {
    fn holds(&mut self, rule: &Rule) -> Result<bool, Failure> {
        match rule {
            Rule::All(rules) => self.none_is(rules, false),
            Rule::Any(rules) => self.none_is(rules, true).map(|none| !none),
            Rule::Not(rules) => self.none_is(rules, true),
            Rule::Test(place, test) => Ok(test.holds(&self.operand(*place)?)),
        }
    }

    fn none_is(&mut self, rules: &[Rule], answer: bool) -> Result<bool, Failure> {
        for rule in rules {
            if self.holds(rule)? == answer {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn operand(&mut self, place: Place) -> Result<Operand<'a>, Failure> {
        let slot = match place {
            Place::Envelope(field) => return Ok(field.of(self.event).map_or(Operand::Null, Operand::text)),
            Place::Data(slot) => slot,
        };
        if self.found.is_none() {
            self.found = Some(self.picker.pick(self.event.data_text())?);
        }
        Ok(self.found.as_ref().and_then(|found| found[slot]).map_or(Operand::Null, Operand::json))
    }
}

jackfield_plugin::export!(filter: Match);
