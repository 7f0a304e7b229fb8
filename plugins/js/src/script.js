// From a tenant's text to a function, and from an error back to a line of that text.
//
// A module cannot be made at run time here, so the text is evaluated as a strict script, which has a scope of its own as a
// module has. What only a module may say, `export`, is taken out first. Where it stands the engine's own parser tells, which
// stops there before anything has run: so no text, comment or pattern is mistaken for code, and lines and columns stay as
// the tenant wrote them.

const evaluate = eval;
const { isArray } = Array;
const tagOf = Object.prototype.toString;

const STRICT = '"use strict";';
/** The name that `export default` is given. */
const DEFAULT = "$default";
/** Each one costs another parsing. */
const MAX_EXPORTS = 20;
const SIGNATURE = "export function transform(event, to) { … }";

const AT_EXPORT = /^export\b/;
const DEFAULT_FUNCTION = /^export[ \t]+default[ \t]+function(?=[ \t]*\()/;
const DEFAULT_NAMED = /^export(\s+)default\s+(?:function|class)\s+([\p{ID_Start}$_][\p{ID_Continue}$]*)/u;
const DEFAULT_VALUE = /^export(\s+)default\b/;
const LIST = /^export\s*\{([^}]*)\}(\s*from\b)?/;
const LISTED = /^([\p{ID_Start}$_][\p{ID_Continue}$]*)(?:\s+as\s+(transform|default))?/u;
const ALL = /^export\s*\*/;
const IMPORT = /^\s*import\b(?!\s*[.(])/;

/** The tenant's text. */
let script = "";

/**
 * The script's `transform`, after its top level ran once.
 * Throws the words of a refusal.
 */
export function compile(text) {
  script = text;
  const names = { transform: "transform", default: DEFAULT };
  const exported = evaluated(names);
  const transform = exported.transform ?? exported.default;
  if (transform === undefined) throw `script: there is no ${SIGNATURE}`;
  if (typeof transform !== "function") throw `script: transform is ${kind(transform)}, it must be a function`;
  if (tagOf.call(transform) !== "[object Function]") throw "script: transform must answer at once: not async, no generator";
  return transform;
}

/** `line 7, column 12: TypeError: …`, as far as the error knows where it was thrown. */
export function described(error) {
  const place = placeOf(error);
  if (!place) return wordsOf(error);
  const column = unitsIn(script.split("\n")[place.line - 1] ?? "", place.bytes) + 1;
  return `line ${place.line}, column ${column}: ${wordsOf(error)}`;
}

/** What kind of value that is, in words. */
export function kind(value) {
  if (value === null || value === undefined) return String(value);
  const type = isArray(value) ? "array" : typeof value;
  return `${type === "array" || type === "object" ? "an" : "a"} ${type}`;
}

function evaluated(names) {
  let text = script;
  for (let exports = 0; ; exports++) {
    try {
      return evaluate(`${STRICT}${text}\n;({ transform: ${valueOf(names.transform)}, default: ${valueOf(names.default)} })`);
    } catch (error) {
      const at = error?.message === "unsupported keyword: export" ? offsetOf(placeOf(error), text) : -1;
      if (at < 0) throw `script ${refusal(error)}`;
      if (exports === MAX_EXPORTS) throw `script: more than ${MAX_EXPORTS} exports`;
      text = text.slice(0, at) + withoutExport(text.slice(at), names, placeOf(error));
    }
  }
}

function valueOf(name) {
  return `typeof ${name} === "undefined" ? undefined : ${name}`;
}

/** The text that begins with `export`, as a script says it; notes under which name the tenant's function is found. */
function withoutExport(text, names, { line }) {
  const replace = (pattern, by) => text.replace(pattern, by);
  if (DEFAULT_FUNCTION.test(text)) {
    // A declaration, as it was: it is there for what stands above it, and no semicolon is needed.
    return replace(DEFAULT_FUNCTION, (found) => `function ${DEFAULT}`.padStart(found.length));
  }
  const named = DEFAULT_NAMED.exec(text);
  if (named) {
    names.default = named[2];
    return replace(DEFAULT_VALUE, blank);
  }
  if (DEFAULT_VALUE.test(text)) {
    // As long as `export default`.
    return replace(DEFAULT_VALUE, (_, gap) => `var ${DEFAULT} =${blank(gap.slice(1))}`);
  }
  const list = LIST.exec(text);
  if (ALL.test(text) || list?.[2] !== undefined) throw `script line ${line}: there are no other modules to export from`;
  if (list) {
    for (const item of list[1].split(",").map((item) => item.trim())) {
      const [, local, as] = LISTED.exec(item) ?? [];
      if (local !== undefined && as !== undefined) names[as] = local;
    }
    return replace(LIST, blank);
  }
  return replace(AT_EXPORT, blank);
}

function blank(text) {
  return text.replace(/[^\n]/g, " ");
}

/** What is wrong with the script, by its line. */
function refusal(error) {
  const place = placeOf(error);
  const lines = script.split("\n");
  if (place && place.line > lines.length) return `line ${lines.length}: ends too early: something is still open`;
  if (place && error instanceof SyntaxError && IMPORT.test(lines[place.line - 1])) {
    return `line ${place.line}: there are no modules to import: paste what is needed`;
  }
  return described(error);
}

/**
 * The first place of the tenant's text on the error's stack. Code that was evaluated has no name but `<input>`; its columns
 * count the bytes of UTF-8.
 */
function placeOf(error) {
  const found = /<input>:(\d+):(\d+)/.exec(String(error?.stack ?? ""));
  if (!found) return undefined;
  const line = Number(found[1]);
  return { line, bytes: Number(found[2]) - 1 - (line === 1 ? STRICT.length : 0) };
}

/** Where in the text that place is, if `export` stands there. */
function offsetOf(place, text) {
  if (!place) return -1;
  let start = 0;
  for (let line = 1; line < place.line; line++) start = text.indexOf("\n", start) + 1;
  const at = start + unitsIn(text.slice(start), place.bytes);
  return AT_EXPORT.test(text.slice(at)) ? at : -1;
}

/** How many units of the text are so many bytes. */
function unitsIn(text, bytes) {
  let units = 0;
  for (const character of text) {
    if (bytes <= 0) break;
    const code = character.codePointAt(0);
    bytes -= code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    units += character.length;
  }
  return units;
}

function wordsOf(error) {
  if (!(error instanceof Error)) return `threw ${typeof error === "string" ? JSON.stringify(error) : written(error)}`;
  return error.name === "Error" ? error.message : `${error.name}: ${error.message}`;
}

/** A value for people to read. */
export function written(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return described(value);
  if (typeof value === "bigint" || typeof value === "symbol" || typeof value === "function") return String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return "(a value that cannot be written as JSON)";
  }
}
