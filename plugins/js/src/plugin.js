// The stock plugin `js`: runs the script that a tenant pasted into a chain's configuration. One component for all; an
// instance serves one tenant and one script. docs/plugins/js.md is what a tenant may rely on.

import { verdictOf } from "./answer.js";
import { during } from "./globals.js";
import { compile, described } from "./script.js";

const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "js",
  description: "Runs a script over each event.",
  type: "object",
  additionalProperties: false,
  required: ["script"],
  properties: {
    script: {
      type: "string",
      minLength: 1,
      contentMediaType: "text/javascript",
      description: "JavaScript that has `export function transform(event, to) { … }`.",
    },
  },
};

// What a script may change under us is taken before any script runs.
const { parse, stringify } = JSON;
const { keys } = Object;

let transform;

export const lifecycle = {
  describe: () => ({ name: "js", version: "1.0.0", events: [], configSchema: stringify(SCHEMA) }),

  /** Throws the words of a refusal. */
  configure(config) {
    transform = compile(scriptOf(config));
  },
};

export const transformer = {
  transform(to, event) {
    let data;
    try {
      data = parse(event.data);
    } catch (error) {
      throw { code: "bad-input", message: `data is no JSON: ${error.message}` };
    }
    const seen = {
      id: event.id,
      type: event.eventType,
      tenant: event.tenant,
      user: event.user,
      session: event.session,
      key: event.key,
      source: event.source,
      time: event.timeMs,
      attributes: named(event.attributes),
      data,
    };
    const target = { kind: to.kind, id: to.id, name: to.name, attributes: named(to.attributes) };
    try {
      return during(event, () => verdictOf(transform(seen, target)));
    } catch (error) {
      throw { code: outOfMemory(error) ? "memory" : "script-error", message: described(error) };
    }
  },
};

function scriptOf(config) {
  let parsed;
  try {
    parsed = parse(config);
  } catch (error) {
    throw `the configuration is no JSON: ${error.message}`;
  }
  const names = typeof parsed === "object" && parsed !== null ? keys(parsed) : [];
  const unknown = names.find((name) => name !== "script");
  if (unknown !== undefined) throw `unknown field ${stringify(unknown)}: the configuration is {"script": "…"}`;
  if (typeof parsed?.script !== "string") throw 'the configuration is {"script": "export function transform(event, to) { … }"}';
  return parsed.script;
}

/** Attributes as an object; of two with one name the later counts. */
function named(attributes) {
  const object = { __proto__: null };
  for (const { key, value } of attributes) object[key] = value;
  return object;
}

function outOfMemory(error) {
  return error instanceof InternalError && error.message === "out of memory";
}
