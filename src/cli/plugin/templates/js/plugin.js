// @ts-check
// {{name}}: announces an incoming call as a line of text. The configuration is {"prefix": "Call from "}.
/// <reference path="./jackfield.d.ts" />

let prefix = "Incoming call from ";

/** @type {import("./jackfield").Lifecycle} */
export const lifecycle = {
  describe() {
    // `events`: what it understands; a chain skips it for others.
    return { name: "{{name}}", version: "1.0.0", events: ["call.*"] };
  },

  // Runs once. What it throws refuses the configuration, and the tenant reads it.
  configure(text) {
    const config = JSON.parse(text);
    for (const field of Object.keys(config)) {
      if (field !== "prefix") throw `unknown field \`${field}\`: there is only \`prefix\``;
    }
    if (config.prefix !== undefined && typeof config.prefix !== "string") throw "`prefix` must be a string";
    prefix = config.prefix ?? prefix;
  },
};

/** @type {import("./jackfield").Transformer} */
export const transformer = {
  transform(to, event) {
    const { caller } = JSON.parse(event.data);
    // What is thrown fails this one event.
    if (typeof caller !== "string") throw { code: "bad-input", message: "`caller` is missing, or no text" };
    if (caller === "anonymous") return { tag: "drop", val: "anonymous caller" };
    return emit({ text: prefix + caller });
  },
};

/**
 * @param {unknown} body
 * @returns {import("./jackfield").Verdict}
 */
function emit(body) {
  const text = JSON.stringify(body);
  return {
    tag: "emit",
    val: { contentType: "application/json", headers: [], body: { tag: "text", val: text }, attributes: [] },
  };
}
