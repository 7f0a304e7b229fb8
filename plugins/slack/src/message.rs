//! Fills a template with one event, straight into the JSON text of a message.
//!
//! Slack's limits, kept here: text 4,000 characters, header 150, section 3,000, ten fields of 2,000 a section, ten elements in a
//! context, fifty blocks.

use std::borrow::Cow;

use jackfield_plugin::pick::Json;
use jackfield_plugin::{Event, Failure};

use crate::limited::Limited;
use crate::template::{EventField, Fields, Part, Template, label};

const TEXT_LIMIT: usize = 4_000;
const HEADER_LIMIT: usize = 150;
const SECTION_LIMIT: usize = 3_000;
const FIELD_LIMIT: usize = 2_000;
const ELEMENT_LIMIT: usize = 300;
const FIELDS_A_SECTION: usize = 10;
/// Slack would take more in more sections; a reader would not.
const MAX_FIELDS: usize = 50;

/// One event, with what the template asked for found in it.
struct Values<'a> {
    event: &'a Event,
    found: Vec<Option<Json<'a>>>,
}

pub(crate) fn render(opening: &str, template: &Template, event: &Event) -> Result<String, Failure> {
    let found = if template.picker.is_empty() { Vec::new() } else { template.picker.pick(event.data_text())? };
    let values = Values { event, found };
    let mut out = String::with_capacity(1_024 + event.data_text().len());
    out.push_str(opening);
    fallback(&mut out, template, &values);
    out.push_str(",\"blocks\":[{\"type\":\"header\",\"text\":{\"type\":\"plain_text\",\"text\":\"");
    title(Limited::new(&mut out, HEADER_LIMIT), template, &values);
    out.push_str("\",\"emoji\":true}}");
    section(&mut out, template, &values);
    let left_out = match &template.fields {
        Fields::Named(fields) => named_fields(&mut out, fields, &values),
        Fields::All => all_fields(&mut out, event)?,
    };
    context(&mut out, event, left_out);
    out.push_str("]}");
    Ok(out)
}

/// What notifications show: the title, and the text below it.
fn fallback(out: &mut String, template: &Template, values: &Values<'_>) {
    out.push_str("\"text\":\"");
    let mut text = title(Limited::new(out, TEXT_LIMIT), template, values);
    if values.says_something(&template.text) {
        text.plain("\n");
        values.fill(&mut text, &template.text);
    }
    out.push('"');
}

fn title<'out>(limited: Limited<'out>, template: &Template, values: &Values<'_>) -> Limited<'out> {
    let mut limited = limited.one_line(true);
    for part in &template.title {
        match part {
            // A header is plain text: markup in it would be shown, not obeyed.
            Part::Literal(text) => limited.plain(text),
            part => values.write(&mut limited, part),
        }
    }
    if limited.is_empty() {
        limited.plain(&values.event.event_type);
    }
    limited.one_line(false)
}

fn section(out: &mut String, template: &Template, values: &Values<'_>) {
    let before = out.len();
    out.push_str(",{\"type\":\"section\",\"text\":{\"type\":\"mrkdwn\",\"text\":\"");
    let mut text = Limited::new(out, SECTION_LIMIT);
    values.fill(&mut text, &template.text);
    if text.is_empty() {
        out.truncate(before);
    } else {
        out.push_str("\"}}");
    }
}

/// Writes fields in sections of ten.
struct FieldWriter<'out> {
    out: &'out mut String,
    written: usize,
    left_out: usize,
}

impl FieldWriter<'_> {
    fn add(&mut self, label: &str, value: impl FnOnce(&mut Limited<'_>)) {
        if self.written == MAX_FIELDS {
            self.left_out += 1;
            return;
        }
        self.out.push_str(match self.written % FIELDS_A_SECTION {
            0 if self.written == 0 => ",{\"type\":\"section\",\"fields\":[",
            0 => "]},{\"type\":\"section\",\"fields\":[",
            _ => ",",
        });
        self.out.push_str("{\"type\":\"mrkdwn\",\"text\":\"");
        let mut text = Limited::new(self.out, FIELD_LIMIT);
        text.known("*");
        text.plain(label);
        text.known("*");
        text.plain("\n");
        value(&mut text);
        self.out.push_str("\"}");
        self.written += 1;
    }

    /// Answers how many fields there was no room for.
    fn finish(self) -> usize {
        if self.written > 0 {
            self.out.push_str("]}");
        }
        self.left_out
    }
}

fn named_fields(out: &mut String, fields: &[(String, Part)], values: &Values<'_>) -> usize {
    let mut writer = FieldWriter { out, written: 0, left_out: 0 };
    for (label, part) in fields.iter().filter(|(_, part)| !values.is_empty(part)) {
        writer.add(label, |text| values.write(text, part));
    }
    writer.finish()
}

fn all_fields(out: &mut String, event: &Event) -> Result<usize, Failure> {
    let mut writer = FieldWriter { out, written: 0, left_out: 0 };
    let data = Json::parse(event.data_text())?;
    if data.text().starts_with('{') {
        data.each_member(|key, value| {
            if !is_empty(value) {
                let short: String = key.chars().take(100).collect();
                writer.add(&label(&short), |text| write_json(text, value));
            }
        })?;
    } else if !is_empty(data) {
        writer.add("Data", |text| write_json(text, data));
    }
    Ok(writer.finish())
}

fn context(out: &mut String, event: &Event, left_out: usize) {
    out.push_str(",{\"type\":\"context\",\"elements\":[");
    element(out, |text| text.plain(&event.event_type));
    out.push(',');
    // Slack shows the reader's own time zone; what follows the bar is for where it cannot.
    element(out, |text| {
        let seconds = event.time_ms / 1_000;
        let mut digits = [0; 20];
        text.known("<!date^");
        text.known(decimal(seconds, &mut digits));
        text.known("^{date_num} {time_secs}|");
        text.known(&utc(seconds));
        text.known(">");
    });
    for id in [&event.id, &event.tenant] {
        if !id.is_empty() {
            out.push(',');
            element(out, |text| text.plain(id));
        }
    }
    if left_out > 0 {
        out.push(',');
        element(out, |text| text.plain(&format!("{left_out} more fields")));
    }
    out.push_str("]}");
}

fn element(out: &mut String, write: impl FnOnce(&mut Limited<'_>)) {
    out.push_str("{\"type\":\"mrkdwn\",\"text\":\"");
    write(&mut Limited::new(out, ELEMENT_LIMIT));
    out.push_str("\"}");
}

impl Values<'_> {
    fn fill(&self, text: &mut Limited<'_>, parts: &[Part]) {
        if self.says_something(parts) {
            for part in parts {
                self.write(text, part);
            }
        }
    }

    /// A text whose placeholders are all absent is left out: what stands around them would mislead.
    fn says_something(&self, parts: &[Part]) -> bool {
        let mut placeholders = parts.iter().filter(|part| !matches!(part, Part::Literal(_))).peekable();
        if placeholders.peek().is_none() { !parts.is_empty() } else { placeholders.any(|part| !self.is_empty(part)) }
    }

    fn write(&self, text: &mut Limited<'_>, part: &Part) {
        match part {
            Part::Literal(literal) => text.markup(literal),
            Part::Event(field) => text.plain(&self.envelope(*field)),
            Part::Data(slot) => {
                if let Some(value) = self.found[*slot] {
                    write_json(text, value);
                }
            }
        }
    }

    fn is_empty(&self, part: &Part) -> bool {
        match part {
            Part::Literal(_) => false,
            Part::Event(field) => self.envelope(*field).is_empty(),
            Part::Data(slot) => self.found[*slot].is_none_or(is_empty),
        }
    }

    fn envelope(&self, field: EventField) -> Cow<'_, str> {
        let event = self.event;
        Cow::Borrowed(match field {
            EventField::Type => &event.event_type,
            EventField::Id => &event.id,
            EventField::Tenant => &event.tenant,
            EventField::User => event.user.as_deref().unwrap_or(""),
            EventField::Session => event.session.as_deref().unwrap_or(""),
            EventField::Key => event.key.as_deref().unwrap_or(""),
            EventField::Source => event.source.as_deref().unwrap_or(""),
            EventField::Time => return Cow::Owned(utc(event.time_ms / 1_000)),
        })
    }
}

fn is_empty(value: Json<'_>) -> bool {
    matches!(value.text(), "null" | "\"\"")
}

/// Text as it reads, nothing for null, and JSON for all else.
fn write_json(text: &mut Limited<'_>, value: Json<'_>) {
    match value.as_str() {
        Some(string) => text.plain(&string),
        None if value.is_null() => {}
        None => text.plain(value.text()),
    }
}

/// `2026-11-22 05:14:09 UTC`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; day 719,468 of that calendar is 1970-01-01, and an era is 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + era * 400;
    // Digit by digit: the formatter is most of a message's time in wasm.
    let mut text = String::with_capacity(23);
    let parts = [
        (year / 100 % 100, ""),
        (year % 100, "-"),
        (month, "-"),
        (day, " "),
        (second / 3_600, ":"),
        (second / 60 % 60, ":"),
        (second % 60, " UTC"),
    ];
    for (number, after) in parts {
        text.push(digit(number / 10));
        text.push(digit(number % 10));
        text.push_str(after);
    }
    text
}

/// A number's digits, written into the end of the room given.
fn decimal(mut number: u64, room: &mut [u8; 20]) -> &str {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = digit(number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&room[at..]).unwrap_or_default();
        }
    }
}

fn digit(number: u64) -> char {
    char::from(b'0' + (number % 10) as u8)
}

#[cfg(test)]
mod tests {
    use super::{decimal, utc};

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(decimal(0, &mut [0; 20]), "0");
        assert_eq!(decimal(u64::MAX, &mut [0; 20]), u64::MAX.to_string());
    }

    #[test]
    fn times_read_as_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_324_449), "2026-11-22 05:14:09 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
