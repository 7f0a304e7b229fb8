//! Garbage, broken components and random valid ones, offered to the server's own loading code: each is refused with words or
//! works, and none ends the process.

use crate::support::guests::{only_what_is_addressed_to_a_user, transformer};
use crate::support::wait::PATIENCE;
use crate::support::{Receiver, Server, eventually, items, within};
use jackfield::event::{Event, EventId, EventType, Origin, TenantId};
use jackfield::plugin::{Bench, Limits};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The same cases in every run of the suite. The long proof takes new ones.
const SEED: u64 = 20_261_125;
const CASES: usize = 500;
const FILES: usize = 300;
const LIMITS: Limits = Limits {
    max_size_bytes: 1 << 20,
    max_memory_bytes: 16 << 20,
    deadline: Duration::from_millis(20),
    max_output_bytes: 64 << 10,
};

#[test]
fn no_component_takes_the_process_with_it() {
    let mut fuzz = Fuzz::new(SEED);
    for case in 0..CASES {
        fuzz.offer(case);
    }
    fuzz.expect_some_of_each();
}

#[test]
fn long_no_component_takes_the_process_with_it() {
    let until = Instant::now() + Duration::from_secs(180);
    let mut fuzz = Fuzz::new(rand::random());
    for case in (0..).take_while(|_| Instant::now() < until) {
        fuzz.offer(case);
    }
    fuzz.expect_some_of_each();
}

#[tokio::test]
async fn hundreds_of_garbage_files_do_not_stop_a_plugin_that_serves() {
    let server = Server::start().await;
    server.install("good", &transformer("1").bytes()).await;
    let mut receiver = Receiver::start().await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "shared/good"}]})).await;

    let mut fuzz = Fuzz::new(SEED);
    for n in 0..FILES {
        std::fs::write(server.plugin_path(&format!("junk-{n:03}")), fuzz.cheap())
            .expect("the plugin folder takes files");
        if n % 10 == 0 {
            server.publish("acme", json!({"type": "call.ended", "data": n})).await;
            assert_eq!(receiver.expect_delivery().await.json()["data"], n);
        }
    }
    let client = server.admin("acme");
    let judged = |plugin: &Value| plugin["active_version"].is_number() || plugin["last_error"].is_string();
    eventually("every file to be judged", || async {
        let listed = items(&client.get("/api/v1/plugins").await.expect(200).body);
        let junk = listed.iter().filter(|p| p["name"].as_str().is_some_and(|name| name.starts_with("shared/junk-")));
        (junk.filter(|plugin| judged(plugin)).count() == FILES).then_some(())
    })
    .await;
    within(PATIENCE, "a good plugin after all of them", server.install("after", &transformer("2").bytes())).await;
    server.publish("acme", json!({"type": "call.ended", "data": "end"})).await;
    assert_eq!(receiver.expect_delivery().await.json()["data"], "end");
}

struct Fuzz {
    rng: StdRng,
    good: [Vec<u8>; 2],
    event: Event,
    worked: usize,
    refused: usize,
}

impl Fuzz {
    fn new(seed: u64) -> Fuzz {
        eprintln!("seed {seed}");
        Fuzz {
            rng: StdRng::seed_from_u64(seed),
            good: [transformer("1").bytes(), only_what_is_addressed_to_a_user().bytes()],
            event: Event {
                id: EventId::generate(),
                event_type: EventType::parse("call.ended").expect("a type"),
                tenant: TenantId::parse("acme").expect("a tenant"),
                timestamp_ms: 1_795_324_449_431,
                user: None,
                session: None,
                key: None,
                source: None,
                data: "{}".into(),
                origin: Origin::Published,
            },
            worked: 0,
            refused: 0,
        }
    }

    /// Loads one component as the server does and, if it is taken, calls it.
    fn offer(&mut self, case: usize) {
        let (kind, bytes) = match case % 8 {
            0 => ("random bytes", self.random()),
            1 => ("a component cut short", self.cut_short()),
            2 => ("a component with wrong bits", self.with_wrong_bits()),
            3 => ("a component with a piece in the wrong place", self.spliced()),
            4 => ("a random module", self.module()),
            5 => ("a component with its sections mixed", self.mixed()),
            6 => ("a component with a random module", self.with_module(false)),
            _ => ("a component that starts a random module", self.with_module(true)),
        };
        // The last line that is seen names the case that ended the process.
        eprint!("case {case}: {kind}, {} bytes: ", bytes.len());
        let answer = Bench::new(&bytes, "{}", LIMITS).map(|mut plugin| plugin.call(&self.event));
        match answer {
            Ok(called) => {
                self.worked += 1;
                eprintln!("works: {called:?}");
            }
            Err(error) => {
                self.refused += 1;
                assert!(!error.to_string().is_empty());
                eprintln!("{error}");
            }
        }
    }

    fn expect_some_of_each(&self) {
        eprintln!("{} worked, {} were refused", self.worked, self.refused);
        assert!(self.worked > 10 && self.refused > 10, "the cases are of one sort only");
    }

    /// Of the sorts that cost little to compile.
    fn cheap(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..4) {
            0 => self.random(),
            1 => self.cut_short(),
            2 => self.with_wrong_bits(),
            _ => self.spliced(),
        }
    }

    fn random(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..4096)];
        self.rng.fill(&mut bytes[..]);
        // Half of them begin as a component does.
        if self.rng.random() && bytes.len() > 8 {
            bytes[..8].copy_from_slice(&self.good[0][..8]);
        }
        bytes
    }

    fn good(&mut self) -> Vec<u8> {
        self.good[self.rng.random_range(0..2)].clone()
    }

    fn cut_short(&mut self) -> Vec<u8> {
        let mut bytes = self.good();
        bytes.truncate(self.rng.random_range(0..bytes.len()));
        bytes
    }

    fn with_wrong_bits(&mut self) -> Vec<u8> {
        let mut bytes = self.good();
        for _ in 0..self.rng.random_range(1..8) {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
        bytes
    }

    fn spliced(&mut self) -> Vec<u8> {
        let (bytes, other) = (self.good(), self.good());
        let from = self.rng.random_range(0..other.len());
        let piece = &other[from..self.rng.random_range(from..other.len())];
        let at = self.rng.random_range(0..bytes.len());
        let kept = self.rng.random_range(at..bytes.len());
        [&bytes[..at], piece, &bytes[kept..]].concat()
    }

    /// Sections in another order, some of them lost or doubled.
    fn mixed(&mut self) -> Vec<u8> {
        let bytes = self.good();
        let mut sections = sections(&bytes);
        for _ in 0..self.rng.random_range(1..4) {
            let at = self.rng.random_range(0..sections.len());
            match self.rng.random_range(0..3) {
                0 => drop(sections.remove(at)),
                1 => sections.insert(at, sections[at]),
                _ => sections.swap(at, 0),
            }
        }
        if self.rng.random_range(0..4) == 0 {
            sections.shuffle(&mut self.rng);
        }
        [&bytes[..8], &sections.concat()].concat()
    }

    /// Valid code that does anything: computes, loops, recurses, traps, writes and asks for memory; some of it at the start.
    fn module(&mut self) -> Vec<u8> {
        let functions = self.rng.random_range(1..20);
        let mut text = format!("(module (memory {})\n", self.rng.random_range(0..4));
        for n in 0..functions {
            let depth = self.rng.random_range(1..7);
            let body = self.expression(depth, functions);
            text += &format!("(func $f{n} (param i32 i32) (result i32) {body})\n");
        }
        text += "(func $run (drop (call $f0 (i32.const 1) (i32.const 2))))\n(start $run))";
        wat::parse_str(&text).unwrap_or_else(|error| panic!("no module: {error}\n{text}"))
    }

    /// Something that leaves one `i32`.
    fn expression(&mut self, depth: u32, functions: u32) -> String {
        const PAIRS: [&str; 14] =
            ["add", "sub", "mul", "div_s", "rem_u", "and", "or", "xor", "shl", "shr_u", "rotl", "eq", "lt_s", "ge_u"];
        if depth == 0 {
            return match self.rng.random_range(0..3) {
                0 => format!("(i32.const {})", self.rng.random::<i32>()),
                n => format!("(local.get {})", n - 1),
            };
        }
        let [a, b, c] = [(); 3].map(|()| self.expression(depth - 1, functions));
        match self.rng.random_range(0..16) {
            0..6 => format!("(i32.{} {a} {b})", PAIRS.choose(&mut self.rng).expect("there are pairs")),
            6 => format!("(i32.load {a})"),
            7 => format!("(block (result i32) (i32.store {a} {b}) {c})"),
            8 => format!("(if (result i32) {a} (then {b}) (else {c}))"),
            9 => format!("(loop $again (result i32) (br_if $again {a}) {b})"),
            10 => format!("(call $f{} {a} {b})", self.rng.random_range(0..functions)),
            11 => format!("(memory.grow {a})"),
            12 => format!("(i32.trunc_sat_f64_s (f64.sqrt (f64.convert_i32_s {a})))"),
            13 => format!("(i32.wrap_i64 (i64.mul (i64.extend_i32_s {a}) (i64.extend_i32_u {b})))"),
            14 => format!("(select {a} {b} {c})"),
            _ => format!("(if (result i32) {a} (then (unreachable)) (else {b}))"),
        }
    }

    /// A good component and behind it a module of valid random code, which is compiled with it and, if wanted, started: what
    /// comes behind moves no index of what stands before.
    fn with_module(&mut self, started: bool) -> Vec<u8> {
        let module = self.module();
        let mut bytes = self.good();
        bytes.push(1);
        leb128(&mut bytes, module.len());
        bytes.extend(module);
        if started {
            // One instance, of the second module, without arguments.
            bytes.extend([2, 4, 1, 0, 1, 0]);
        }
        bytes
    }
}

fn leb128(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The component's sections, each with its head.
fn sections(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut sections, mut at) = (Vec::new(), 8);
    while at < bytes.len() {
        let (mut length, mut end) = (0, at + 1);
        for shift in (0..).step_by(7) {
            length |= usize::from(bytes[end] & 0x7f) << shift;
            end += 1;
            if bytes[end - 1] < 0x80 {
                break;
            }
        }
        sections.push(&bytes[at..end + length]);
        at = end + length;
    }
    sections
}
