-- Ids compare byte by byte (SQLite's default collation is binary). Times are milliseconds since the Unix epoch, UTC.

CREATE TABLE jf_events (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of commits
    tenant_id       TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    idempotency_key TEXT,
    type            TEXT    NOT NULL,
    timestamp_ms    INTEGER NOT NULL,
    user_id         TEXT,
    session_id      TEXT,
    event_key       TEXT,
    source          TEXT,
    data            TEXT    NOT NULL,                  -- JSON text as sent, never a JSON column
    own             INTEGER NOT NULL DEFAULT 0,        -- made by the server itself
    UNIQUE (tenant_id, id)
);
CREATE UNIQUE INDEX jf_events_idempotency ON jf_events (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jf_events_tenant ON jf_events (tenant_id, seq);

-- The name without a prefix: other programs insert rows here.
CREATE TABLE webhooks (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    events        TEXT    NOT NULL,                    -- a JSON array of patterns, or patterns with commas between
    secret        TEXT,
    is_active     INTEGER NOT NULL DEFAULT 1,
    description   TEXT,
    headers       TEXT    NOT NULL DEFAULT '{}',
    ed25519_seed  TEXT,
    retry_count   INTEGER NOT NULL DEFAULT 8,
    timeout_s     INTEGER NOT NULL DEFAULT 30,
    chain         TEXT    NOT NULL DEFAULT '[]',
    disabled_reason TEXT,
    created_ms    INTEGER NOT NULL DEFAULT 0,
    updated_ms    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id);

-- The queue. Ids grow with time, so rows are appended.
CREATE TABLE jf_deliveries (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant_id    TEXT    NOT NULL,
    webhook_id   INTEGER NOT NULL,
    event_id     TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'pending',
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at_ms   INTEGER NOT NULL,
    lease_owner  TEXT,                                 -- the node whose memory holds it
    pins         TEXT,                                 -- plugin versions fixed at commit: {"shared/slack":2}
    reason       TEXT,
    created_ms   INTEGER NOT NULL,
    ended_ms     INTEGER
) WITHOUT ROWID;
-- Claims ask for (NULL, webhook, due); a start asks for what is leased.
CREATE INDEX jf_deliveries_pending ON jf_deliveries (lease_owner, webhook_id, next_at_ms) WHERE state = 'pending';
CREATE INDEX jf_deliveries_failed ON jf_deliveries (tenant_id, id) WHERE state IN ('failed', 'plugin_failed');
CREATE INDEX jf_deliveries_event ON jf_deliveries (event_id, tenant_id);

-- What a chain made of an event, kept with the first recorded attempt. Unchanged deliveries have no row: their body is the
-- envelope of their event.
CREATE TABLE jf_delivery_bodies (
    delivery_id  TEXT NOT NULL PRIMARY KEY,
    content_type TEXT NOT NULL,
    headers      TEXT NOT NULL,
    body         BLOB NOT NULL,
    plugins      TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE jf_attempts (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id      TEXT    NOT NULL,
    tenant_id        TEXT    NOT NULL,
    webhook_id       INTEGER NOT NULL,
    event_id         TEXT    NOT NULL,
    event_type       TEXT    NOT NULL,
    attempt          INTEGER NOT NULL,
    state            TEXT    NOT NULL,                 -- succeeded | failed
    response_status  INTEGER,
    response_body    TEXT,
    error            TEXT,
    duration_ms      INTEGER NOT NULL,
    plugins          TEXT    NOT NULL DEFAULT '[]',
    at_ms            INTEGER NOT NULL,
    next_attempt_at_ms INTEGER
);
CREATE INDEX jf_attempts_webhook ON jf_attempts (webhook_id, id);

-- Counted with each batch of outcomes, so that stats need no scan.
CREATE TABLE jf_webhook_totals (
    webhook_id      INTEGER PRIMARY KEY,
    delivered       INTEGER NOT NULL DEFAULT 0,
    failed          INTEGER NOT NULL DEFAULT 0,
    dropped         INTEGER NOT NULL DEFAULT 0,
    plugin_failed   INTEGER NOT NULL DEFAULT 0,
    cancelled       INTEGER NOT NULL DEFAULT 0,
    retried         INTEGER NOT NULL DEFAULT 0,
    last_success_ms INTEGER,
    last_failure_ms INTEGER
);

CREATE TABLE jf_socket_chains (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    chain     TEXT NOT NULL
) WITHOUT ROWID;

-- Components as given, by version. The shared ones belong to the tenant ''.
CREATE TABLE jf_plugin_versions (
    tenant_id  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    sha256     TEXT    NOT NULL,
    wasm       BLOB    NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name, version)
);

CREATE TABLE jf_sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant_id  TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    ended_ms   INTEGER
) WITHOUT ROWID;

-- The last agent.state.changed of each user.
CREATE TABLE jf_user_states (
    tenant_id TEXT    NOT NULL,
    user_id   TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) WITHOUT ROWID;
