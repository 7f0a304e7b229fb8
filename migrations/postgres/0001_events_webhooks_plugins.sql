-- Ids compare byte by byte. Times are milliseconds since the Unix epoch, UTC. The table `webhooks` is not here: another
-- program may have made it.

CREATE TABLE jf_events (
    seq             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       TEXT   COLLATE "C" NOT NULL,
    id              TEXT   COLLATE "C" NOT NULL,
    idempotency_key TEXT   COLLATE "C",
    type            TEXT   COLLATE "C" NOT NULL,
    timestamp_ms    BIGINT NOT NULL,
    user_id         TEXT   COLLATE "C",
    session_id      TEXT   COLLATE "C",
    event_key       TEXT   COLLATE "C",
    source          TEXT   COLLATE "C",
    data            TEXT   NOT NULL,                   -- JSON text as sent, never a JSON column
    own             BOOLEAN NOT NULL DEFAULT FALSE     -- made by the server itself
);
CREATE UNIQUE INDEX jf_events_id ON jf_events (tenant_id, id);
CREATE UNIQUE INDEX jf_events_idempotency ON jf_events (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jf_events_tenant ON jf_events (tenant_id, seq);

-- pending and `due_ms`: waits in the table until then. pending and `lease_owner`: in the memory of that node. pending and
-- neither: behind another one of its key.
CREATE TABLE jf_deliveries (
    id           TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    tenant_id    TEXT   COLLATE "C" NOT NULL,
    webhook_id   BIGINT NOT NULL,
    event_id     TEXT   COLLATE "C" NOT NULL,
    event_type   TEXT   COLLATE "C" NOT NULL,
    state        TEXT   COLLATE "C" NOT NULL DEFAULT 'pending',
    attempts     BIGINT NOT NULL DEFAULT 0,
    lane         BIGINT NOT NULL DEFAULT 0,            -- 0 fresh, 1 retries, 2 replays
    due_ms       BIGINT,
    lease_owner  TEXT   COLLATE "C",
    order_key    TEXT   COLLATE "C",                   -- where the webhook wants order
    order_seq    BIGINT,                               -- its place behind that key
    retry_from   BIGINT NOT NULL DEFAULT 0,            -- attempts before the last retry by hand or replay
    pins         TEXT,                                 -- plugin versions fixed at commit
    reason       TEXT,
    plugins      TEXT,                                 -- what a chain did that ended it without an attempt
    created_ms   BIGINT NOT NULL,
    ended_ms     BIGINT
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX jf_deliveries_due ON jf_deliveries (webhook_id, lane, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX jf_deliveries_leased ON jf_deliveries (lease_owner, webhook_id) WHERE lease_owner IS NOT NULL;
CREATE INDEX jf_deliveries_order ON jf_deliveries (webhook_id, order_key, order_seq)
    WHERE state = 'pending' AND order_key IS NOT NULL;
CREATE INDEX jf_deliveries_failed ON jf_deliveries (tenant_id, id) WHERE state IN ('failed', 'plugin_failed');
CREATE INDEX jf_deliveries_webhook ON jf_deliveries (webhook_id, id);
CREATE INDEX jf_deliveries_event ON jf_deliveries (event_id, tenant_id);

-- What a chain made of an event, kept with the first recorded attempt. Unchanged deliveries have no row: their body is the
-- envelope of their event.
CREATE TABLE jf_delivery_bodies (
    delivery_id  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    content_type TEXT   NOT NULL,
    headers      TEXT   NOT NULL,
    body         BYTEA  NOT NULL,
    plugins      TEXT   NOT NULL
);

CREATE TABLE jf_attempts (
    delivery_id        TEXT   COLLATE "C" NOT NULL,
    attempt            BIGINT NOT NULL,
    webhook_id         BIGINT NOT NULL,
    event_id           TEXT   COLLATE "C" NOT NULL,
    event_type         TEXT   COLLATE "C" NOT NULL,
    state              TEXT   COLLATE "C" NOT NULL,    -- succeeded | failed
    response_status    BIGINT,
    response_body      TEXT,
    error              TEXT,
    duration_ms        BIGINT NOT NULL,
    plugins            TEXT   NOT NULL DEFAULT '[]',
    at_ms              BIGINT NOT NULL,
    next_attempt_at_ms BIGINT,
    PRIMARY KEY (delivery_id, attempt)
);
CREATE INDEX jf_attempts_webhook ON jf_attempts (webhook_id, at_ms);

-- Counted by each node for itself, so that nodes do not wait for each other's rows.
CREATE TABLE jf_webhook_totals (
    webhook_id      BIGINT NOT NULL,
    slot            BIGINT NOT NULL,
    delivered       BIGINT NOT NULL DEFAULT 0,
    failed          BIGINT NOT NULL DEFAULT 0,
    dropped         BIGINT NOT NULL DEFAULT 0,
    plugin_failed   BIGINT NOT NULL DEFAULT 0,
    cancelled       BIGINT NOT NULL DEFAULT 0,
    retried         BIGINT NOT NULL DEFAULT 0,
    last_success_ms BIGINT,
    last_failure_ms BIGINT,
    PRIMARY KEY (webhook_id, slot)
) WITH (fillfactor = 50);

-- What holds a whole webhook back.
CREATE TABLE jf_gates (
    webhook_id       BIGINT NOT NULL PRIMARY KEY,
    paused_until_ms  BIGINT NOT NULL DEFAULT 0,        -- Retry-After
    open_until_ms    BIGINT NOT NULL DEFAULT 0,        -- the circuit is open until then, then it is probed
    open_for_ms      BIGINT NOT NULL DEFAULT 0,        -- 0: closed
    failing_since_ms BIGINT,                           -- nothing but failures since then
    next_release_us  BIGINT NOT NULL DEFAULT 0         -- rate_limit: when the next one may go
) WITH (fillfactor = 50);

-- The last place that was given behind each key.
CREATE TABLE jf_key_order (
    webhook_id BIGINT NOT NULL,
    order_key  TEXT   COLLATE "C" NOT NULL,
    last_seq   BIGINT NOT NULL,
    touched_ms BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, order_key)
);

CREATE TABLE jf_nodes (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    slot       BIGINT NOT NULL UNIQUE,
    beat       BIGINT NOT NULL DEFAULT 0,              -- grows while the node lives
    started_ms BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE jf_replays (
    id           TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    tenant_id    TEXT   COLLATE "C" NOT NULL,
    webhook_id   BIGINT NOT NULL,
    state        TEXT   COLLATE "C" NOT NULL,          -- running | done | cancelled
    since_ms     BIGINT NOT NULL,
    until_ms     BIGINT NOT NULL,
    states       TEXT   NOT NULL,                      -- a JSON array of delivery states
    event_types  TEXT   NOT NULL,                      -- a JSON array of patterns
    rate         BIGINT NOT NULL,                      -- deliveries a second
    matches      BIGINT NOT NULL,
    done         BIGINT NOT NULL DEFAULT 0,
    last_id      TEXT   COLLATE "C" NOT NULL DEFAULT '', -- where it goes on
    lease_owner  TEXT   COLLATE "C",
    created_ms   BIGINT NOT NULL,
    ended_ms     BIGINT
);
CREATE INDEX jf_replays_state ON jf_replays (state);

CREATE TABLE jf_socket_chains (
    tenant_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    chain     TEXT NOT NULL
);

-- Components as given, by version. The shared ones belong to the tenant ''.
CREATE TABLE jf_plugin_versions (
    tenant_id  TEXT   COLLATE "C" NOT NULL,
    name       TEXT   COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    sha256     TEXT   NOT NULL,
    wasm       BYTEA  NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name, version)
);

CREATE TABLE jf_sessions (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    tenant_id  TEXT   COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_ms   BIGINT
);

-- The last agent.state.changed of each user.
CREATE TABLE jf_user_states (
    tenant_id TEXT   COLLATE "C" NOT NULL,
    user_id   TEXT   COLLATE "C" NOT NULL,
    state     TEXT   NOT NULL,
    at_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
