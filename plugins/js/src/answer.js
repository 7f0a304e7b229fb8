// From what a script returns to a verdict. What is not clear is refused with words: a wrong guess would be sent.

import { described, kind } from "./script.js";

const { stringify } = JSON;
const { isArray } = Array;
const { isView } = ArrayBuffer;
const { keys } = Object;

/** Throws the words when that is no answer. */
export function verdictOf(answer) {
  if (answer === undefined) return { tag: "pass" };
  if (typeof answer !== "object" || answer === null) {
    throw new Error(
      `transform returned ${kind(answer)}: return an object or a list for a JSON body, nothing to pass, ` +
        `{drop: "why"}, or {emit: {body}}`,
    );
  }
  if (typeof answer.then === "function") throw new Error("transform returned a promise: it must answer at once");
  const names = isArray(answer) ? [] : keys(answer);
  if (names.length === 1 && names[0] === "drop") return { tag: "drop", val: reason(answer.drop) };
  if (names.length === 1 && names[0] === "emit") return { tag: "emit", val: output(answer.emit) };
  return { tag: "emit", val: { contentType: "application/json", headers: [], body: json(answer), attributes: [] } };
}

function reason(why) {
  if (why === true) return null;
  if (typeof why === "string") return why;
  throw new Error(`drop is ${kind(why)}: it must be the reason, or true; a body is sent by {emit: {body: {drop: …}}}`);
}

function output(emit) {
  if (typeof emit !== "object" || emit === null || isArray(emit)) {
    throw new Error(`emit is ${kind(emit)}: it must be {contentType, headers, body, attributes}`);
  }
  const unknown = keys(emit).find((name) => !["contentType", "headers", "body", "attributes"].includes(name));
  if (unknown !== undefined) throw new Error(`emit.${unknown} is unknown: it is {contentType, headers, body, attributes}`);
  const [contentType, body] = bodyOf(emit.body);
  if (emit.contentType !== undefined && typeof emit.contentType !== "string") {
    throw new Error(`emit.contentType is ${kind(emit.contentType)}: it must be a string`);
  }
  return {
    contentType: emit.contentType ?? contentType,
    headers: pairs(emit.headers, "emit.headers"),
    body,
    attributes: pairs(emit.attributes, "emit.attributes"),
  };
}

/** The content type that a body has of itself, and the body. */
function bodyOf(body) {
  if (typeof body === "string") return ["text/plain; charset=utf-8", { tag: "text", val: body }];
  if (body instanceof ArrayBuffer) return ["application/octet-stream", bytes(new Uint8Array(body))];
  if (isView(body)) {
    return ["application/octet-stream", bytes(new Uint8Array(body.buffer, body.byteOffset, body.byteLength))];
  }
  if (typeof body === "object" && body !== null) return ["application/json", json(body)];
  throw new Error(`emit.body is ${kind(body)}: it must be a string, an object, a list or bytes`);
}

function bytes(array) {
  return { tag: "bytes", val: array };
}

function json(value) {
  let text;
  try {
    text = stringify(value);
  } catch (error) {
    throw new Error(`the body has no JSON: ${described(error)}`);
  }
  if (typeof text !== "string") throw new Error(`the body has no JSON: toJSON answered ${kind(text)}`);
  return { tag: "text", val: text };
}

function pairs(object, place) {
  if (object === undefined) return [];
  if (typeof object !== "object" || object === null || isArray(object)) {
    throw new Error(`${place} is ${kind(object)}: it must be an object`);
  }
  return keys(object).map((key) => {
    const value = object[key];
    if (!["string", "number", "boolean"].includes(typeof value)) {
      throw new Error(`${place}[${stringify(key)}] is ${kind(value)}: it must be a string`);
    }
    return { key, value: String(value) };
  });
}
