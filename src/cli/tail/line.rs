//! An event as a line for people, and a frame as a line for programs. Nothing in an event can end a line, or speak to the
//! terminal.

use super::frame::Event;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Room for the type, so that most lines stand below each other.
const TYPE_WIDTH: usize = 22;

/// Time, type, whom it is for, data.
pub fn readable(event: &Event<'_>, colour: bool) -> String {
    let (dim, bold, plain) = if colour { (DIM, BOLD, PLAIN) } else { ("", "", "") };
    let mut line =
        format!("{dim}{}{plain}  {bold}{:TYPE_WIDTH$}{plain}", harmless(&event.timestamp), harmless(&event.event_type));
    if let Some(user) = &event.user_id {
        line.push_str(&format!("  user {}", harmless(user)));
    }
    if let Some(session) = &event.session_id {
        line.push_str(&format!("  session {}", harmless(session)));
    }
    if event.offline {
        line.push_str("  (waited)");
    }
    if let Some(data) = event.data {
        line.push_str("  ");
        line.push_str(&harmless(&compact(data.get())));
    }
    line.truncate(line.trim_end().len());
    line
}

/// A frame as it came, on one line: line ends stand only between JSON's words, where a space means the same.
pub fn raw(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// JSON without the spaces between its words; numbers and keys stay as they were sent.
fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        if quoted {
            quoted = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        quoted = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

/// Control characters, which a terminal may obey, become what they are called.
fn harmless(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::*;

    fn line(text: &str) -> String {
        let Frame::Event(event) = Frame::parse(text).unwrap() else { panic!("{text} has no id") };
        readable(&event, false)
    }

    #[test]
    fn a_line_has_what_a_person_looks_for() {
        let call = r#"{"id":"evt_1","type":"call.incoming","timestamp":"2026-11-22T09:13:41.203Z","user_id":"kim",
            "session_id":null,"data":{ "caller" : "+43 1 \" 5", "n": 1.50 },"offset":2}"#;
        assert_eq!(
            line(call),
            r#"2026-11-22T09:13:41.203Z  call.incoming           user kim  {"caller":"+43 1 \" 5","n":1.50}"#
        );
        let ping = r#"{"id":"evt_2","type":"ping","timestamp":"2026-11-22T09:13:41.203Z","data":null}"#;
        assert_eq!(line(ping), "2026-11-22T09:13:41.203Z  ping");
    }

    #[test]
    fn nothing_speaks_to_the_terminal() {
        let csi =
            "{\"id\":\"e\",\"type\":\"x.y\",\"timestamp\":\"t\",\"user_id\":\"\\u001b[2J\",\"data\":\"\u{9b}2J\"}";
        let line = line(csi);
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert!(line.contains(r"user \u{1b}[2J"), "{line}");
    }

    #[test]
    fn a_frame_is_one_line_for_a_program() {
        assert_eq!(raw("{\"data\":{\n  \"a\": \"\\n\"\r\n}}"), "{\"data\":{   \"a\": \"\\n\"  }}");
    }
}
