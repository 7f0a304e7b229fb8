//! Guests written by hand in WebAssembly text, without the project's SDK: the canonical ABI of `wit/plugin-1.0.0`
//! spelled out, so that the tests depend on the frozen interface and on nothing that we generate from it.
//!
//! A well-behaved transformer answers `{"version":"<version>","config":<config>,"event":"<id>","data":<data>}`; the
//! other behaviours are what an operator fears.

mod abi;

use abi::{HOST, LIFECYCLE, MEMORY, MEMORY_ALIASES, SHARED_MEMORY, exported, imported_types};
use std::fmt::Write as _;

/// What `transform` does when it is called.
#[derive(Clone, Copy, PartialEq)]
enum Transform {
    Answer,
    Drop,
    Fail,
    Loop,
    Trap,
    Hog,
    Flood,
    Overflow,
    Copy,
    Scan,
    Remember,
    /// A header's name and value, and the body.
    Emit(&'static str, &'static str, &'static str),
    Tell(Telling, &'static str),
}

/// How a guest gives away a secret.
#[derive(Clone, Copy, PartialEq)]
pub enum Telling {
    Emits,
    Fails,
    Drops,
}

/// What goes wrong before there is any event.
#[derive(Clone, Copy, PartialEq)]
pub enum Setup {
    Fine,
    TrapsAtStart,
    TrapsInDescribe,
    TrapsInConfigure,
    LoopsInConfigure,
}

/// Which world the component is made for.
#[derive(Clone, Copy, PartialEq)]
enum World {
    Transformer,
    Filter,
}

/// A component to be written into a plugin directory; build it with [`Guest::bytes`].
#[derive(Clone)]
pub struct Guest {
    world: World,
    version: String,
    patterns: Vec<String>,
    refuses_with: Option<String>,
    transform: Transform,
    /// Further core modules, which nothing uses: compiled all the same.
    ballast: String,
    setup: Setup,
    /// Code before `transform`, where there is any: it may call the host.
    says: Option<Says>,
}

#[derive(Clone, Copy)]
enum Says {
    Line(&'static str, &'static str),
    AMillionLines,
}

/// A transformer that answers with its version, its configuration, and the event's id and data.
pub fn transformer(version: &str) -> Guest {
    Guest {
        world: World::Transformer,
        version: version.to_owned(),
        patterns: Vec::new(),
        refuses_with: None,
        transform: Transform::Answer,
        setup: Setup::Fine,
        says: None,
        ballast: String::new(),
    }
}

/// A filter that lets through what is addressed to one user.
pub fn only_what_is_addressed_to_a_user() -> Guest {
    Guest { world: World::Filter, ..transformer("1") }
}

/// A core module: valid WebAssembly, but not a component.
pub fn not_a_component() -> Vec<u8> {
    wat::parse_str("(module)").expect("the empty module is valid text")
}

/// A component that fits neither world.
pub fn component_of_another_world() -> Vec<u8> {
    wat::parse_str(
        r#"(component
             (core module $m (func (export "run")))
             (core instance $i (instantiate $m))
             (func $run (canon lift (core func $i "run")))
             (export "run" (func $run)))"#,
    )
    .expect("the component is valid text")
}

impl Guest {
    /// `describe` names these event patterns.
    pub fn understanding(mut self, patterns: &[&str]) -> Guest {
        self.patterns = patterns.iter().map(|&p| p.to_owned()).collect();
        self
    }

    /// `configure` says no, with these words, to every configuration.
    pub fn refusing_configuration(mut self, words: &str) -> Guest {
        self.refuses_with = Some(words.to_owned());
        self
    }

    /// Drops every event, saying `not wanted`.
    pub fn dropping(self) -> Guest {
        Guest { transform: Transform::Drop, ..self }
    }

    /// Fails every event with code `bad-input`.
    pub fn failing(self) -> Guest {
        Guest { transform: Transform::Fail, ..self }
    }

    /// Never returns.
    pub fn looping(self) -> Guest {
        Guest { transform: Transform::Loop, ..self }
    }

    /// Executes `unreachable`.
    pub fn trapping(self) -> Guest {
        Guest { transform: Transform::Trap, ..self }
    }

    /// Grows its memory until it may not, then traps, as an allocator that is out of memory does.
    pub fn hogging(self) -> Guest {
        Guest { transform: Transform::Hog, ..self }
    }

    /// Answers ten million bytes.
    pub fn flooding(self) -> Guest {
        Guest { transform: Transform::Flood, ..self }
    }

    /// Calls itself without end.
    pub fn overflowing(self) -> Guest {
        Guest { transform: Transform::Overflow, ..self }
    }

    /// Copies a megabyte to and fro without end.
    pub fn copying(self) -> Guest {
        Guest { transform: Transform::Copy, ..self }
    }

    /// Grows by 4 MiB, logs `clean` or, where one byte of them is not zero, `dirty`, fills them, and traps.
    pub fn scanning(self) -> Guest {
        Guest { transform: Transform::Scan, ..self }
    }

    /// Keeps the first tenant that it sees, in its memory for as long as it lives, and drops each event with that name.
    pub fn remembering(self) -> Guest {
        Guest { transform: Transform::Remember, ..self }
    }

    /// Emits `{}` with this header.
    pub fn setting_header(self, name: &'static str, value: &'static str) -> Guest {
        Guest { transform: Transform::Emit(name, value, "{}"), ..self }
    }

    /// Emits this text, whatever it is, as JSON.
    pub fn emitting(self, text: &'static str) -> Guest {
        Guest { transform: Transform::Emit("x-team", "billing", text), ..self }
    }

    /// Asks for a secret, logs it, and tells it as said; drops the event with the reason `no secret` where it gets none.
    pub fn telling_secret(self, telling: Telling, name: &'static str) -> Guest {
        Guest { transform: Transform::Tell(telling, name), ..self }
    }

    /// Logs a line at each event, before whatever else it does.
    pub fn logging(self, level: &'static str, message: &'static str) -> Guest {
        Guest { says: Some(Says::Line(level, message)), ..self }
    }

    /// Logs a million lines at each event.
    pub fn chattering(self) -> Guest {
        Guest { says: Some(Says::AMillionLines), ..self }
    }

    pub fn setting_up(self, setup: Setup) -> Guest {
        Guest { setup, ..self }
    }

    /// The component with one thing spelled otherwise, as another toolchain or another version would.
    pub fn bytes_where(&self, is: &str, becomes: &str) -> Vec<u8> {
        let text = self.text();
        assert!(text.contains(is), "the guest has no {is}");
        wat::parse_str(text.replace(is, becomes)).expect("the guest is valid text")
    }

    /// Carries this text between its types and its code: core modules that have to be compiled too.
    pub fn carrying(self, ballast: String) -> Guest {
        Guest { ballast, ..self }
    }

    /// The component, ready to be written to `PLUGIN_DIR/<name>.wasm`.
    pub fn bytes(&self) -> Vec<u8> {
        wat::parse_str(self.text()).expect("the guest is valid text")
    }

    fn text(&self) -> String {
        let mut data = Data::new();
        let says = self.says(&mut data);
        let start = if self.setup == Setup::TrapsAtStart { "(func $start unreachable) (start $start)" } else { "" };
        let core = format!("{}\n{}\n{says}\n{start}", self.lifecycle(&mut data), self.work(&mut data));
        let exports = match self.world {
            World::Transformer => {
                exported("transformer", "transform", "verdict", &["event", "destination", "verdict", "failure"])
            }
            World::Filter => exported("filter", "matches", "bool", &["event", "destination", "failure"]),
        };
        let calls_host = self.says.is_some() || matches!(self.transform, Transform::Scan | Transform::Tell(..));
        let (host, instance, memory) = match calls_host {
            true => (HOST, abi::WITH_HOST, MEMORY.replace("(memory (export \"memory\") 2)", SHARED_MEMORY)),
            false => ("", "(instantiate $code)", MEMORY.to_owned()),
        };
        format!(
            "(component\n{types}\n{host}\n{ballast}\n(core module $code\n{memory}\n(global $heap (mut i32) (i32.const {heap}))\n\
             (global $floor (mut i32) (i32.const {heap}))\n{data}\n{core})\n\
             (core instance $i {instance})\n{MEMORY_ALIASES}\n{LIFECYCLE}\n{exports})",
            types = imported_types(),
            ballast = self.ballast,
            heap = data.end(),
            data = data.segments,
        )
    }

    /// `transform` as the host calls it: what it says goes before its work.
    fn says(&self, data: &mut Data) -> String {
        if self.world == World::Filter {
            return String::new();
        }
        let line = match self.says {
            None => String::new(),
            Some(Says::Line(level, message)) => log(data, level, message),
            Some(Says::AMillionLines) => format!(
                "(local $n i32) (loop $more {}
                   (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000))))",
                log(data, "info", "one of a million")
            ),
        };
        format!("(func (export \"transform\") (param $in i32) (result i32) {line} (call $transform (local.get $in)))")
    }

    /// `describe` and `configure`: both answer through a record in memory.
    fn lifecycle(&self, data: &mut Data) -> String {
        let name = data.put("hand-written");
        let version = data.put(&self.version);
        let patterns: Vec<Place> = self.patterns.iter().map(|p| data.put(p)).collect();
        let list = data.words(&patterns.iter().flat_map(|p| [p.at, p.len]).collect::<Vec<_>>());
        let about = data.words(&[name.at, name.len, version.at, version.len, list, patterns.len() as u32, 0, 0, 0]);
        let answer = match &self.refuses_with {
            None => data.words(&[0, 0, 0]),
            Some(words) => {
                let words = data.put(words);
                data.words(&[1, words.at, words.len])
            }
        };
        let (describes, configures) = match self.setup {
            Setup::Fine | Setup::TrapsAtStart => ("", ""),
            Setup::TrapsInDescribe => ("unreachable", ""),
            Setup::TrapsInConfigure => ("", "unreachable"),
            Setup::LoopsInConfigure => ("", "(loop $again (br $again))"),
        };
        format!(
            r#"(func (export "describe") (result i32) {describes} i32.const {about})
               (func (export "configure") (param $at i32) (param $len i32) (result i32)
                 {configures}
                 (global.set $config (local.get $at))
                 (global.set $config-len (local.get $len))
                 ;; The configuration stays; what a call brings in is given back after it.
                 (global.set $floor (global.get $heap))
                 i32.const {answer})"#
        )
    }

    /// `transform` or `matches`. The parameters are one record: destination at 0, event at 32.
    fn work(&self, data: &mut Data) -> String {
        if self.world == World::Filter {
            let answer = data.words(&[0, 0, 0, 0, 0]);
            return format!(
                r#"(func (export "matches") (param $in i32) (result i32)
                     ;; The tag of `user`, an option, is the verdict.
                     (i32.store8 (i32.const {}) (i32.load8_u (i32.add (local.get $in) (i32.const 56))))
                     i32.const {answer})
                   {DONE}"#,
                answer + 4
            );
        }
        match self.transform {
            Transform::Answer => self.answer(data),
            Transform::Drop => {
                let why = data.put("not wanted");
                let answer = data.words(&[0, 2, 1, why.at, why.len]);
                body(&format!("i32.const {answer}"))
            }
            Transform::Fail => {
                let (code, message) = (data.put("bad-input"), data.put("this event is not understood"));
                let answer = data.words(&[1, code.at, code.len, message.at, message.len]);
                body(&format!("i32.const {answer}"))
            }
            Transform::Loop => body("(loop $again (br $again)) unreachable"),
            Transform::Trap => body("unreachable"),
            Transform::Hog => {
                body("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable")
            }
            Transform::Flood => flood(data),
            Transform::Copy => body(
                "(drop (memory.grow (i32.const 32)))
                 (loop $again
                   (memory.copy (i32.const 131072) (i32.const 1179648) (i32.const 917504))
                   (memory.fill (i32.const 1179648) (i32.const 7) (i32.const 917504))
                   (br $again)) unreachable",
            ),
            Transform::Scan => scan(data),
            Transform::Remember => remember(data),
            Transform::Emit(name, value, text) => emit(data, name, value, text),
            Transform::Tell(telling, name) => tell(data, telling, name),
            Transform::Overflow => {
                let deeper = "(func $deeper (param i32) (result i32)
                    (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))";
                format!("{deeper}\n{}", body("(call $deeper (local.get $in))"))
            }
        }
    }

    /// Writes the JSON answer piece by piece and returns `emit`.
    fn answer(&self, data: &mut Data) -> String {
        let pieces = [
            data.put(&format!("{{\"version\":\"{}\",\"config\":", self.version)),
            data.put(",\"event\":\""),
            data.put("\",\"data\":"),
            data.put("}"),
        ];
        let emitted = Emitted::place(data);
        let put = |piece: &Place| format!("(call $put (i32.const {}) (i32.const {}))", piece.at, piece.len);
        let put_field = |at: u32| {
            format!(
                "(call $put (i32.load (i32.add (local.get $in) (i32.const {at}))) (i32.load (i32.add (local.get $in) (i32.const {}))))",
                at + 4
            )
        };
        let code = [
            "(local.set $start (call $alloc (i32.const 0)))".to_owned(),
            put(&pieces[0]),
            "(call $put (global.get $config) (global.get $config-len))".to_owned(),
            put(&pieces[1]),
            put_field(32),
            put(&pieces[2]),
            put_field(120),
            put(&pieces[3]),
            emitted.body("(local.get $start)", "(i32.sub (global.get $heap) (local.get $start))"),
        ];
        body(&format!("(local $start i32)\n{}", code.join("\n")))
    }
}

/// A JSON string of ten million bytes: a quote, many letters, a quote.
fn flood(data: &mut Data) -> String {
    const LEN: u32 = 10_000_000;
    let emitted = Emitted::place(data);
    body(&format!(
        "(local $start i32)
         (local.set $start (call $alloc (i32.const {LEN})))
         (memory.fill (local.get $start) (i32.const 97) (i32.const {LEN}))
         (i32.store8 (local.get $start) (i32.const 34))
         (i32.store8 (i32.add (local.get $start) (i32.const {})) (i32.const 34))
         {}",
        LEN - 1,
        emitted.body("(local.get $start)", &format!("(i32.const {LEN})"))
    ))
}

fn log(data: &mut Data, level: &str, message: &str) -> String {
    let (level, message) = (data.put(level), data.put(message));
    format!(
        "(call $log (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}))",
        level.at, level.len, message.at, message.len
    )
}

fn scan(data: &mut Data) -> String {
    let (clean, dirty) = (log(data, "info", "clean"), log(data, "info", "dirty"));
    body(&format!(
        "(local $at i32) (local $end i32)
         (local.set $at (i32.shl (memory.grow (i32.const 64)) (i32.const 16)))
         (local.set $end (i32.shl (memory.size) (i32.const 16)))
         (block $found
           (loop $next
             (br_if $found (i64.ne (i64.load (local.get $at)) (i64.const 0)))
             (local.set $at (i32.add (local.get $at) (i32.const 8)))
             (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
         (if (i32.lt_u (local.get $at) (local.get $end)) (then {dirty}) (else {clean}))
         (memory.fill (i32.sub (local.get $end) (i32.const 4194304)) (i32.const 165) (i32.const 4194304))
         unreachable"
    ))
}

/// The event's tenant is at the words 48 and 52 of the parameters; names of up to 64 bytes are kept.
fn remember(data: &mut Data) -> String {
    let kept = data.put(&"-".repeat(64));
    let answer = data.words(&[0, 2, 1, kept.at, 0]);
    let len = answer + 16;
    body(&format!(
        "(if (i32.eqz (i32.load (i32.const {len}))) (then
           (i32.store (i32.const {len}) (i32.load (i32.add (local.get $in) (i32.const 52))))
           (memory.copy (i32.const {}) (i32.load (i32.add (local.get $in) (i32.const 48))) (i32.load (i32.const {len})))))
         i32.const {answer}",
        kept.at
    ))
}

fn emit(data: &mut Data, name: &str, value: &str, text: &str) -> String {
    let (name, value, json, text) = (data.put(name), data.put(value), data.put("application/json"), data.put(text));
    let headers = data.words(&[name.at, name.len, value.at, value.len]);
    let answer = data.words(&[0, 0, json.at, json.len, headers, 1, 0, text.at, text.len, 0, 0]);
    body(&format!("i32.const {answer}"))
}

/// The secret's text is at the words `got` + 4 and + 8 once the host has answered.
fn tell(data: &mut Data, telling: Telling, name: &str) -> String {
    let (name, level, none, code) = (data.put(name), data.put("info"), data.put("no secret"), data.put("told"));
    let (open, close) = (data.put("{\"secret\":\""), data.put("\"}"));
    let got = data.words(&[0, 0, 0]);
    let dropped = data.words(&[0, 2, 1, none.at, none.len]);
    let fails = data.words(&[1, code.at, code.len, 0, 0]);
    let drops = data.words(&[0, 2, 1, 0, 0]);
    let emitted = Emitted::place(data);
    let word = |at: u32| format!("(i32.load (i32.const {at}))");
    let (at, len) = (word(got + 4), word(got + 8));
    let put_at = |record: u32, n: u32| {
        format!("(i32.store (i32.const {}) {at}) (i32.store (i32.const {}) {len})", record + n, record + n + 4)
    };
    let put = |piece: &Place| format!("(call $put (i32.const {}) (i32.const {}))", piece.at, piece.len);
    let answer = match telling {
        Telling::Fails => format!("{} i32.const {fails}", put_at(fails, 12)),
        Telling::Drops => format!("{} i32.const {drops}", put_at(drops, 12)),
        Telling::Emits => format!(
            "(local.set $start (call $alloc (i32.const 0))) {} (call $put {at} {len}) {} {}",
            put(&open),
            put(&close),
            emitted.body("(local.get $start)", "(i32.sub (global.get $heap) (local.get $start))")
        ),
    };
    body(&format!(
        "(local $start i32)
         (call $secret (i32.const {}) (i32.const {}) (i32.const {got}))
         (if (i32.eqz (i32.load8_u (i32.const {got}))) (then (return (i32.const {dropped}))))
         (call $log (i32.const {}) (i32.const {}) {at} {len})
         {answer}",
        name.at, name.len, level.at, level.len
    ))
}

fn body(code: &str) -> String {
    format!("(func $transform (param $in i32) (result i32)\n{code})\n{DONE}")
}

/// Called after the host has read an answer.
const DONE: &str = r#"(func (export "done") (param i32) (global.set $heap (global.get $floor)))"#;

/// The record `ok(emit(output))`: the body's pointer and length, at 28 and 32, are filled in by the call.
struct Emitted {
    at: u32,
}

impl Emitted {
    fn place(data: &mut Data) -> Emitted {
        let json = data.put("application/json");
        Emitted { at: data.words(&[0, 0, json.at, json.len, 0, 0, 0, 0, 0, 0, 0]) }
    }

    fn body(&self, start: &str, len: &str) -> String {
        format!(
            "(i32.store (i32.const {}) {start})\n(i32.store (i32.const {}) {len})\ni32.const {}",
            self.at + 28,
            self.at + 32,
            self.at
        )
    }
}

/// Where a constant lies in the guest's memory.
struct Place {
    at: u32,
    len: u32,
}

/// The guest's constants, laid out from address 16.
struct Data {
    segments: String,
    next: u32,
}

impl Data {
    fn new() -> Data {
        Data { segments: String::new(), next: 16 }
    }

    fn put(&mut self, text: &str) -> Place {
        let place = Place { at: self.next, len: text.len() as u32 };
        self.segment(text.as_bytes());
        place
    }

    /// Little-endian words, aligned to four bytes; answers their address.
    fn words(&mut self, words: &[u32]) -> u32 {
        self.next = self.next.next_multiple_of(4);
        let at = self.next;
        self.segment(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>());
        at
    }

    fn segment(&mut self, bytes: &[u8]) {
        let escaped = bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"));
        writeln!(self.segments, "(data (i32.const {}) \"{escaped}\")", self.next).expect("a string takes any text");
        self.next += bytes.len() as u32;
    }

    fn end(&self) -> u32 {
        self.next.next_multiple_of(16)
    }
}
