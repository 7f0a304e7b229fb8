//! The text that every guest shares: the types of `wit/plugin-1.0.0`, the memory, and how functions become exports.

/// The interface `types`, as it is spelled inside an instance's type.
const TYPES: &str = r#"
  (type $t-json string)
  (export "json" (type $json (eq $t-json)))
  (type $t-attribute (record (field "key" string) (field "value" string)))
  (export "attribute" (type $attribute (eq $t-attribute)))
  (type $attributes (list $attribute))
  (type $maybe (option string))
  (type $t-event (record
    (field "id" string) (field "event-type" string) (field "tenant" string)
    (field "user" $maybe) (field "session" $maybe) (field "key" $maybe) (field "source" $maybe)
    (field "time-ms" u64) (field "attributes" $attributes) (field "data" $json)))
  (export "event" (type $event (eq $t-event)))
  (type $t-destination (record
    (field "kind" string) (field "id" string) (field "name" string) (field "attributes" $attributes)))
  (export "destination" (type $destination (eq $t-destination)))
  (type $raw (list u8))
  (type $t-body (variant (case "text" string) (case "bytes" $raw)))
  (export "body" (type $body (eq $t-body)))
  (type $t-output (record
    (field "content-type" string) (field "headers" $attributes) (field "body" $body) (field "attributes" $attributes)))
  (export "output" (type $output (eq $t-output)))
  (type $t-verdict (variant (case "emit" $output) (case "pass") (case "drop" $maybe)))
  (export "verdict" (type $verdict (eq $t-verdict)))
  (type $t-failure (record (field "code" string) (field "message" string)))
  (export "failure" (type $failure (eq $t-failure)))"#;

const TYPE_NAMES: [&str; 8] = ["json", "attribute", "event", "destination", "body", "output", "verdict", "failure"];

/// `types` imported as every component made by a bindings generator imports it.
pub fn imported_types() -> String {
    let aliases = TYPE_NAMES.map(|name| format!("(alias export $types \"{name}\" (type ${name}))\n")).concat();
    format!(
        "(type $types-shape (instance {TYPES}))\n\
         (import \"jackfield:plugin/types@1.0.0\" (instance $types (type $types-shape)))\n{aliases}"
    )
}

/// The exported interface `name` with the one function `function`, lifted before as `$function`. Its types leave under
/// names of their own, which only an inner component can give them.
pub fn exported(name: &str, function: &str, ok: &str, used: &[&str]) -> String {
    let imports = TYPES.replace("(export ", "(import ");
    let exports: String = used.iter().map(|t| format!("(export $x-{t} \"{t}\" (type ${t}))\n")).collect();
    let with: String = TYPE_NAMES.iter().map(|t| format!("(with \"{t}\" (type ${t}))\n")).collect();
    let fresh = if used.contains(&ok) { format!("$x-{ok}") } else { ok.to_owned() };
    let given = if used.contains(&ok) { format!("${ok}") } else { ok.to_owned() };
    format!(
        r#"(type $result (result {given} (error $failure)))
           (func $call (param "to" $destination) (param "event" $event) (result $result)
             (canon lift (core func $i "{function}") (memory $memory) (realloc $realloc) (post-return $done)))
           (component $shim
             {imports}
             (type $result (result {given} (error $failure)))
             (import "call" (func $call (param "to" $destination) (param "event" $event) (result $result)))
             {exports}
             (type $fresh (result {fresh} (error $x-failure)))
             (export "{function}" (func $call)
               (func (param "to" $x-destination) (param "event" $x-event) (result $fresh))))
           (instance $exported (instantiate $shim {with} (with "call" (func $call))))
           (export "jackfield:plugin/{name}@1.0.0" (instance $exported))"#
    )
}

/// One memory and a bump allocator; each call's garbage is given back by `done`.
pub const MEMORY: &str = r#"
(memory (export "memory") 2)
(global $config (mut i32) (i32.const 0))
(global $config-len (mut i32) (i32.const 0))
(func $alloc (param $size i32) (result i32)
  (local $at i32) (local $short i32)
  (local.set $at (global.get $heap))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (local.set $short (i32.sub (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
  (if (i32.gt_s (local.get $short) (i32.const 0))
    (then (if (i32.eq (i32.const -1)
                (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $short) (i32.const 16)))))
      (then unreachable))))
  (local.get $at))
(func $put (param $from i32) (param $len i32)
  (memory.copy (call $alloc (local.get $len)) (local.get $from) (local.get $len)))
(func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
  (local $new i32)
  (global.set $heap (i32.and
    (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get $align))))
  (local.set $new (call $alloc (local.get $size)))
  (memory.copy (local.get $new) (local.get $old) (local.get $old-size))
  (local.get $new))"#;

/// In the place of a memory of its own, for a guest that calls the host: what the host is given must lie in a memory that
/// is there before the guest is.
pub const SHARED_MEMORY: &str = r#"
(import "lent" "memory" (memory 4))
(import "host" "log" (func $log (param i32 i32 i32 i32)))
(import "host" "secret" (func $secret (param i32 i32 i32)))
(export "memory" (memory 0))"#;

/// The log and the secrets, lowered. An answer of the host lies in the fourth page, until the next one.
pub const HOST: &str = r#"
(import "jackfield:plugin/log@1.0.0" (instance $host-log
  (export "write" (func (param "level" string) (param "message" string)))))
(import "jackfield:plugin/secrets@1.0.0" (instance $host-secrets
  (export "get" (func (param "name" string) (result (option string))))))
(core module $lender
  (memory (export "memory") 4)
  (func (export "answer") (param i32 i32 i32 i32) (result i32) i32.const 196608))
(core instance $lent (instantiate $lender))
(alias core export $lent "memory" (core memory $lent-memory))
(alias core export $lent "answer" (core func $lent-answer))
(alias export $host-log "write" (func $host-write))
(alias export $host-secrets "get" (func $host-get))
(core func $log (canon lower (func $host-write) (memory $lent-memory)))
(core func $secret (canon lower (func $host-get) (memory $lent-memory) (realloc $lent-answer)))
(core instance $host (export "log" (func $log)) (export "secret" (func $secret)))"#;

/// How the guest's code is instantiated then.
pub const WITH_HOST: &str = r#"(instantiate $code (with "lent" (instance $lent)) (with "host" (instance $host)))"#;

/// Named apart from their use: how a nested reference is written differs between versions of the text format.
pub const MEMORY_ALIASES: &str = r#"
(alias core export $i "memory" (core memory $memory))
(alias core export $i "realloc" (core func $realloc))
(alias core export $i "done" (core func $done))"#;

/// `lifecycle` has a record of its own, which only an inner component may name on its way out.
pub const LIFECYCLE: &str = r#"
(type $maybe-schema (option string))
(type $patterns (list string))
(type $about (record
  (field "name" string) (field "version" string) (field "events" $patterns) (field "config-schema" $maybe-schema)))
(type $configured (result (error string)))
(func $describe (result $about) (canon lift (core func $i "describe") (memory $memory) (realloc $realloc)))
(func $configure (param "config" string) (result $configured)
  (canon lift (core func $i "configure") (memory $memory) (realloc $realloc)))
(component $lifecycle-shim
  (type $maybe-schema (option string))
  (type $patterns (list string))
  (type $t-about (record
    (field "name" string) (field "version" string) (field "events" $patterns) (field "config-schema" $maybe-schema)))
  (type $configured (result (error string)))
  (import "about" (type $imported-about (eq $t-about)))
  (import "describe" (func $describe (result $imported-about)))
  (import "configure" (func $configure (param "config" string) (result $configured)))
  (export $about "about" (type $t-about))
  (export "describe" (func $describe) (func (result $about)))
  (export "configure" (func $configure)))
(instance $lifecycle (instantiate $lifecycle-shim
  (with "about" (type $about)) (with "describe" (func $describe)) (with "configure" (func $configure))))
(export "jackfield:plugin/lifecycle@1.0.0" (instance $lifecycle))"#;
