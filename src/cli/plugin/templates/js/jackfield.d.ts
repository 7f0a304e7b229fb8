// The types of jackfield:plugin@1.0.0 (wit/plugin.wit says more) as a plugin in JavaScript meets them.

/** UTF-8 JSON text. */
export type Json = string;

export interface Attribute {
  key: string;
  value: string;
}

/** One event, as published. */
export interface Event {
  id: string;
  /** Dotted name, e.g. `call.incoming`. */
  eventType: string;
  tenant: string;
  /** The one user, or the one public session, that the event is addressed to. */
  user?: string | null;
  session?: string | null;
  /** Ordering key. */
  key?: string | null;
  source?: string | null;
  /** Milliseconds since the Unix epoch, set by the router. */
  timeMs: bigint;
  attributes: Attribute[];
  /** The payload; in a chain, the text that the plugin before emitted. */
  data: Json;
}

/** Where the result goes. */
export interface Destination {
  /** `webhook` or `sockets`; unknown values must be tolerated. */
  kind: string;
  /** The webhook's id; empty for sockets. */
  id: string;
  name: string;
  attributes: Attribute[];
}

export interface Output {
  contentType: string;
  headers: Attribute[];
  body: { tag: "text"; val: string } | { tag: "bytes"; val: Uint8Array };
  /** Merged into the event's attributes for later plugins. */
  attributes: Attribute[];
}

/** Send something else, the event as it is, or nothing. */
export type Verdict = { tag: "emit"; val: Output } | { tag: "pass" } | { tag: "drop"; val?: string | null };

/** What `transform` and `matches` throw. */
export interface Failure {
  /** A short machine word: `bad-input`, `config`, `internal`, … */
  code: string;
  message: string;
}

export interface About {
  name: string;
  version: string;
  /** Event patterns it understands; empty means all. */
  events: string[];
  /** JSON Schema of its configuration, for forms and checks. */
  configSchema?: string | null;
}

export interface Lifecycle {
  describe(): About;
  /** Reads the step's configuration, `{}` when there is none. Throws a string to refuse it. */
  configure(config: Json): void;
}

/** The export of a plugin for the world `transform-plugin`. */
export interface Transformer {
  transform(to: Destination, event: Event): Verdict;
}

/** The export `filter` of a plugin for the world `filter-plugin`: true delivers. */
export interface Filter {
  matches(to: Destination, event: Event): boolean;
}

declare module "jackfield:plugin/log@1.0.0" {
  /** `level` is `debug`, `info`, `warn` or `error`. */
  export function write(level: string, message: string): void;
}

declare module "jackfield:plugin/secrets@1.0.0" {
  export function get(name: string): string | null | undefined;
}

declare module "jackfield:plugin/clock@1.0.0" {
  /** The router's receive time of the event: constant within one call. */
  export function nowMs(): bigint;
}
