// What a script finds besides the language: `console`, `secrets`, and a clock and random numbers that are the event's own,
// so that an answer depends on nothing but its input. What would break that, or only pretends to work, is taken away.

import { write } from "jackfield:plugin/log@1.0.0";
import { get } from "jackfield:plugin/secrets@1.0.0";
import { written } from "./script.js";

/** Of one line of the log; the host cuts the whole of a call. */
const MAX_LINE = 1000;

/** The event that is handled, or none while the script's top level runs. */
let current;
let random;

/** Runs `work` with the event's clock and random numbers. */
export function during(event, work) {
  current = event;
  random = undefined;
  try {
    return work();
  } finally {
    current = undefined;
  }
}

function event(what) {
  if (current === undefined) throw new Error(`${what} is known only inside transform`);
  return current;
}

function log(level) {
  return (...values) => {
    const line = values.map(written).join(" ");
    write(level, line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line);
  };
}

globalThis.console = { debug: log("debug"), log: log("info"), info: log("info"), warn: log("warn"), error: log("error") };
globalThis.secrets = { get: (name) => get(String(name)) ?? undefined };

const RealDate = Date;
function now() {
  return event("the time").timeMs;
}

// Not a class: `Date()` without `new` is a text.
globalThis.Date = function Date(...parts) {
  if (new.target === undefined) return new RealDate(now()).toString();
  return Reflect.construct(RealDate, parts.length === 0 ? [now()] : parts, new.target);
};
Date.prototype = RealDate.prototype;
Date.prototype.constructor = Date;
Object.assign(Date, { now, parse: RealDate.parse, UTC: RealDate.UTC });

Math.random = () => {
  random ??= generator(event("a random number").id);
  return random();
};

/** Mulberry32, begun with the id's FNV-1a. */
function generator(id) {
  let state = 0x811c9dc5;
  for (let n = 0; n < id.length; n++) state = Math.imul(state ^ id.charCodeAt(n), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

for (const name of ["performance", "queueMicrotask", "WeakRef", "FinalizationRegistry", "wit", "__cqjs"]) {
  delete globalThis[name];
}
