-- The queue in its form for several nodes, order by key and replays; attempts keyed by what they are attempts of.

-- pending and `due_ms`: waits in the table until then. pending and `lease_owner`: in the memory of that node. pending and
-- neither: behind another one of its key.
CREATE TABLE jf_deliveries_2 (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant_id    TEXT    NOT NULL,
    webhook_id   INTEGER NOT NULL,
    event_id     TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'pending',
    attempts     INTEGER NOT NULL DEFAULT 0,
    lane         INTEGER NOT NULL DEFAULT 0,           -- 0 fresh, 1 retries, 2 replays
    due_ms       INTEGER,
    lease_owner  TEXT,
    order_key    TEXT,                                 -- where the webhook wants order
    order_seq    INTEGER,                              -- its place behind that key
    retry_from   INTEGER NOT NULL DEFAULT 0,           -- attempts before the last retry by hand or replay
    pins         TEXT,                                 -- plugin versions fixed at commit
    reason       TEXT,
    plugins      TEXT,                                 -- what a chain did that ended it without an attempt
    created_ms   INTEGER NOT NULL,
    ended_ms     INTEGER
) WITHOUT ROWID;
INSERT INTO jf_deliveries_2
    (id, tenant_id, webhook_id, event_id, event_type, state, attempts, lane, due_ms, pins, reason, created_ms, ended_ms)
    SELECT id, tenant_id, webhook_id, event_id, event_type, state, attempts, attempts > 0,
           CASE state WHEN 'pending' THEN next_at_ms END, pins, reason, created_ms, ended_ms
    FROM jf_deliveries;
DROP TABLE jf_deliveries;
ALTER TABLE jf_deliveries_2 RENAME TO jf_deliveries;
CREATE INDEX jf_deliveries_due ON jf_deliveries (webhook_id, lane, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX jf_deliveries_leased ON jf_deliveries (lease_owner, webhook_id) WHERE lease_owner IS NOT NULL;
CREATE INDEX jf_deliveries_order ON jf_deliveries (webhook_id, order_key, order_seq)
    WHERE state = 'pending' AND order_key IS NOT NULL;
CREATE INDEX jf_deliveries_failed ON jf_deliveries (tenant_id, id) WHERE state IN ('failed', 'plugin_failed');
CREATE INDEX jf_deliveries_webhook ON jf_deliveries (webhook_id, id);
CREATE INDEX jf_deliveries_event ON jf_deliveries (event_id, tenant_id);

CREATE TABLE jf_attempts_2 (
    delivery_id        TEXT    NOT NULL,
    attempt            INTEGER NOT NULL,
    webhook_id         INTEGER NOT NULL,
    event_id           TEXT    NOT NULL,
    event_type         TEXT    NOT NULL,
    state              TEXT    NOT NULL,               -- succeeded | failed
    response_status    INTEGER,
    response_body      TEXT,
    error              TEXT,
    duration_ms        INTEGER NOT NULL,
    plugins            TEXT    NOT NULL DEFAULT '[]',
    at_ms              INTEGER NOT NULL,
    next_attempt_at_ms INTEGER,
    PRIMARY KEY (delivery_id, attempt)
) WITHOUT ROWID;
INSERT OR IGNORE INTO jf_attempts_2
    SELECT delivery_id, attempt, webhook_id, event_id, event_type, state, response_status, response_body, error,
           duration_ms, plugins, at_ms, next_attempt_at_ms
    FROM jf_attempts;
DROP TABLE jf_attempts;
ALTER TABLE jf_attempts_2 RENAME TO jf_attempts;
CREATE INDEX jf_attempts_webhook ON jf_attempts (webhook_id, at_ms);

-- Counted by each node for itself, so that nodes do not wait for each other's rows.
CREATE TABLE jf_webhook_totals_2 (
    webhook_id      INTEGER NOT NULL,
    slot            INTEGER NOT NULL,
    delivered       INTEGER NOT NULL DEFAULT 0,
    failed          INTEGER NOT NULL DEFAULT 0,
    dropped         INTEGER NOT NULL DEFAULT 0,
    plugin_failed   INTEGER NOT NULL DEFAULT 0,
    cancelled       INTEGER NOT NULL DEFAULT 0,
    retried         INTEGER NOT NULL DEFAULT 0,
    last_success_ms INTEGER,
    last_failure_ms INTEGER,
    PRIMARY KEY (webhook_id, slot)
) WITHOUT ROWID;
INSERT INTO jf_webhook_totals_2
    SELECT webhook_id, 0, delivered, failed, dropped, plugin_failed, cancelled, retried, last_success_ms, last_failure_ms
    FROM jf_webhook_totals;
DROP TABLE jf_webhook_totals;
ALTER TABLE jf_webhook_totals_2 RENAME TO jf_webhook_totals;

-- What holds a whole webhook back.
CREATE TABLE jf_gates (
    webhook_id       INTEGER NOT NULL PRIMARY KEY,
    paused_until_ms  INTEGER NOT NULL DEFAULT 0,       -- Retry-After
    open_until_ms    INTEGER NOT NULL DEFAULT 0,       -- the circuit is open until then, then it is probed
    open_for_ms      INTEGER NOT NULL DEFAULT 0,       -- 0: closed
    failing_since_ms INTEGER,                          -- nothing but failures since then
    next_release_us  INTEGER NOT NULL DEFAULT 0        -- rate_limit: when the next one may go
);

-- The last place that was given behind each key.
CREATE TABLE jf_key_order (
    webhook_id INTEGER NOT NULL,
    order_key  TEXT    NOT NULL,
    last_seq   INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, order_key)
) WITHOUT ROWID;

CREATE TABLE jf_nodes (
    id         TEXT    NOT NULL PRIMARY KEY,
    slot       INTEGER NOT NULL UNIQUE,
    beat       INTEGER NOT NULL DEFAULT 0,             -- grows while the node lives
    started_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE jf_replays (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant_id    TEXT    NOT NULL,
    webhook_id   INTEGER NOT NULL,
    state        TEXT    NOT NULL,                     -- running | done | cancelled
    since_ms     INTEGER NOT NULL,
    until_ms     INTEGER NOT NULL,
    states       TEXT    NOT NULL,                     -- a JSON array of delivery states
    event_types  TEXT    NOT NULL,                     -- a JSON array of patterns
    rate         INTEGER NOT NULL,                     -- deliveries a second
    matches      INTEGER NOT NULL,
    done         INTEGER NOT NULL DEFAULT 0,
    last_id      TEXT    NOT NULL DEFAULT '',          -- where it goes on
    lease_owner  TEXT,
    created_ms   INTEGER NOT NULL,
    ended_ms     INTEGER
) WITHOUT ROWID;
CREATE INDEX jf_replays_state ON jf_replays (state);
