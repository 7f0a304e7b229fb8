//! The template of a JSON document: compiled once, written for each event.

use jackfield_plugin::pick::{Json, Picker};
use jackfield_plugin::template::{Part, Place, Template, Values};
use jackfield_plugin::text::{Limit, Style, Text};

/// A value of the template.
pub(crate) enum Shape {
    /// Nothing in it to fill: JSON text as it was written.
    Fixed(String),
    /// A text with placeholders.
    Text(Template),
    /// The value at a place.
    Value(Place, Otherwise),
    /// Keys as JSON text.
    Object(Vec<(String, Shape)>),
    Array(Vec<Shape>),
}

/// What stands where a place has no value.
pub(crate) enum Otherwise {
    Json(String),
    Nothing,
}

impl Shape {
    /// Reads the value at `at`, which is a path for people.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub(crate) fn compile(json: Json<'_>, at: &str, picker: &mut Picker) -> Result<Self, String> {
        let broken = |_| format!("`{at}` is not JSON");
        if let Some(text) = json.as_str() {
            let template = Template::parse(&text, picker).map_err(|why| format!("`{at}`: {why}"))?;
            let has_places = template.parts.iter().any(|part| matches!(part, Part::Place(_)));
            // Even without a place, `{{` has become a brace.
            return Ok(if has_places || text.contains(['{', '}']) { Self::Text(template) } else { json.into() });
        }
        let (mut members, mut elements) = (Vec::new(), Vec::new());
        json.each_member(|key, value| members.push((key, value))).map_err(broken)?;
        json.each_element(|value| elements.push(value)).map_err(broken)?;
        if members.iter().any(|(key, _)| key == "$") {
            return Self::value(&members, at, picker);
        }
        let shapes = elements.into_iter().enumerate();
        let shapes = shapes.map(|(n, value)| Self::compile(value, &format!("{at}[{n}]"), picker));
        let elements = shapes.collect::<Result<Vec<_>, _>>()?;
        let shapes = members.into_iter().map(|(key, value)| {
            let shape = Self::compile(value, &format!("{at}.{key}"), picker)?;
            Ok((serde_json::Value::from(key).to_string(), shape))
        });
        let members = shapes.collect::<Result<Vec<_>, String>>()?;
        let fixed = |shape: &Self| matches!(shape, Self::Fixed(_));
        Ok(match (json.text().as_bytes().first(), members, elements) {
            (Some(b'{'), members, _) if !members.iter().all(|(_, shape)| fixed(shape)) => Self::Object(members),
            (Some(b'['), _, elements) if !elements.iter().all(fixed) => Self::Array(elements),
            _ => json.into(),
        })
    }

    /// `{"$": place, "default"?, "omit"?}`.
    fn value(members: &[(std::borrow::Cow<'_, str>, Json<'_>)], at: &str, picker: &mut Picker) -> Result<Self, String> {
        let (mut place, mut default, mut omit) = (None, None, false);
        for (key, value) in members {
            match (key.as_ref(), value.text()) {
                ("$", _) => {
                    let name =
                        value.as_str().ok_or_else(|| format!("`{at}.$` is no text: write a place, e.g. `/caller`"))?;
                    // The empty pointer is all of data.
                    let found =
                        if name.is_empty() { picker.add("").map(Place::Data) } else { Place::parse(&name, picker) };
                    place = Some(found.map_err(|why| format!("`{at}.$`: {why}"))?);
                }
                ("default", text) => default = Some(text.to_owned()),
                ("omit", "true") => omit = true,
                ("omit", "false") => {}
                ("omit", _) => return Err(format!("`{at}.omit` must be true or false")),
                (other, _) => {
                    return Err(format!("`{at}.{other}` stands beside `$`: only `default` and `omit` may"));
                }
            }
        }
        let place = place.ok_or_else(|| format!("`{at}` has no `$`"))?;
        let otherwise = match (default, omit) {
            (Some(_), true) => return Err(format!("`{at}` has `default` and `omit`: keep one")),
            (None, true) => Otherwise::Nothing,
            (default, false) => Otherwise::Json(default.unwrap_or_else(|| "null".to_owned())),
        };
        Ok(Self::Value(place, otherwise))
    }

    /// The document for one event; one that is omitted as a whole is null.
    pub(crate) fn fill(&self, values: &Values<'_>) -> String {
        let mut out = String::with_capacity(256 + values.event.data_text().len());
        if !self.write(&mut out, values) {
            out.push_str("null");
        }
        out
    }

    /// False, and nothing written, where the value is left out.
    fn write(&self, out: &mut String, values: &Values<'_>) -> bool {
        match self {
            Self::Fixed(json) => out.push_str(json),
            Self::Text(template) => {
                let mut text = Quoted::open(out);
                for part in &template.parts {
                    match part {
                        Part::Literal(literal) => text.push(literal),
                        Part::Place(place) => text.push(&values.words(*place)),
                    }
                }
                text.close();
            }
            Self::Value(place, otherwise) => match (place, otherwise) {
                (Place::Data(slot), _) if values.data(*slot).is_some() => {
                    out.push_str(values.data(*slot).map_or("null", Json::text));
                }
                (Place::Event(field), _) if field.of(values.event).is_some() => {
                    let mut text = Quoted::open(out);
                    text.push(&field.of(values.event).unwrap_or_default());
                    text.close();
                }
                (_, Otherwise::Json(json)) => out.push_str(json),
                (_, Otherwise::Nothing) => return false,
            },
            Self::Object(members) => {
                out.push('{');
                let mut written = false;
                for (key, shape) in members {
                    let before = out.len();
                    out.push_str(if written { "," } else { "" });
                    out.push_str(key);
                    out.push(':');
                    if shape.write(out, values) {
                        written = true;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                let mut written = false;
                for shape in elements {
                    let before = out.len();
                    out.push_str(if written { "," } else { "" });
                    if shape.write(out, values) {
                        written = true;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(']');
            }
        }
        true
    }
}

impl From<Json<'_>> for Shape {
    fn from(json: Json<'_>) -> Self {
        Self::Fixed(json.text().to_owned())
    }
}

/// A JSON string of several pieces.
struct Quoted<'out>(&'out mut String);

impl<'out> Quoted<'out> {
    fn open(out: &'out mut String) -> Self {
        out.push('"');
        Self(out)
    }

    fn push(&mut self, text: &str) {
        Text::new(self.0, Style::Plain, Limit::NONE).plain(text);
    }

    fn close(self) {
        self.0.push('"');
    }
}
