-- Ids are VARBINARY: a collation would take `A` for `a`, or `a ` for `a`. Times are milliseconds since the Unix epoch, UTC.
-- The table `webhooks` is not here: another program may have made it.

CREATE TABLE jf_events (
    seq             BIGINT AUTO_INCREMENT PRIMARY KEY,
    tenant_id       VARBINARY(64) NOT NULL,
    id              VARBINARY(64) NOT NULL,
    idempotency_key VARBINARY(640),
    type            VARBINARY(128) NOT NULL,
    timestamp_ms    BIGINT NOT NULL,
    user_id         VARBINARY(1024),
    session_id      VARBINARY(512),
    event_key       VARBINARY(1024),
    source          VARBINARY(4096),
    data            MEDIUMTEXT NOT NULL,               -- JSON text as sent, never a JSON column
    own             BOOLEAN NOT NULL DEFAULT FALSE     -- made by the server itself
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE UNIQUE INDEX jf_events_id ON jf_events (tenant_id, id);
CREATE UNIQUE INDEX jf_events_idempotency ON jf_events (tenant_id, idempotency_key);
CREATE INDEX jf_events_tenant ON jf_events (tenant_id, seq);

-- pending and `due_ms`: waits in the table until then. pending and `lease_owner`: in the memory of that node. pending and
-- neither: behind another one of its key.
CREATE TABLE jf_deliveries (
    id           VARBINARY(64) NOT NULL PRIMARY KEY,
    tenant_id    VARBINARY(64) NOT NULL,
    webhook_id   BIGINT NOT NULL,
    event_id     VARBINARY(64) NOT NULL,
    event_type   VARBINARY(128) NOT NULL,
    state        VARBINARY(16) NOT NULL DEFAULT 'pending',
    attempts     BIGINT NOT NULL DEFAULT 0,
    lane         BIGINT NOT NULL DEFAULT 0,            -- 0 fresh, 1 retries, 2 replays
    due_ms       BIGINT,
    lease_owner  VARBINARY(64),
    order_key    VARBINARY(1024),                      -- where the webhook wants order
    order_seq    BIGINT,                               -- its place behind that key
    retry_from   BIGINT NOT NULL DEFAULT 0,            -- attempts before the last retry by hand or replay
    pins         MEDIUMTEXT,                           -- plugin versions fixed at commit
    reason       MEDIUMTEXT,
    plugins      MEDIUMTEXT,                           -- what a chain did that ended it without an attempt
    created_ms   BIGINT NOT NULL,
    ended_ms     BIGINT,
    -- Indexes are whole here: these columns are null for all but the few that are looked for by them.
    dead            BIGINT AS (CASE WHEN state IN ('failed', 'plugin_failed') THEN 1 END) VIRTUAL,
    waiting_webhook BIGINT AS (CASE WHEN due_ms IS NOT NULL THEN webhook_id END) VIRTUAL,
    behind_webhook  BIGINT AS (CASE WHEN order_seq IS NOT NULL THEN webhook_id END) VIRTUAL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX jf_deliveries_due ON jf_deliveries (waiting_webhook, lane, due_ms);
CREATE INDEX jf_deliveries_leased ON jf_deliveries (lease_owner, webhook_id);
CREATE INDEX jf_deliveries_order ON jf_deliveries (behind_webhook, order_key, order_seq);
CREATE INDEX jf_deliveries_webhook ON jf_deliveries (webhook_id, id);
CREATE INDEX jf_deliveries_failed ON jf_deliveries (dead, tenant_id, id);
CREATE INDEX jf_deliveries_event ON jf_deliveries (event_id, tenant_id);

-- What a chain made of an event, kept with the first recorded attempt. Unchanged deliveries have no row: their body is the
-- envelope of their event.
CREATE TABLE jf_delivery_bodies (
    delivery_id  VARBINARY(64) NOT NULL PRIMARY KEY,
    content_type MEDIUMTEXT NOT NULL,
    headers      MEDIUMTEXT NOT NULL,
    body         MEDIUMBLOB NOT NULL,
    plugins      MEDIUMTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE jf_attempts (
    delivery_id        VARBINARY(64) NOT NULL,
    attempt            BIGINT NOT NULL,
    webhook_id         BIGINT NOT NULL,
    event_id           VARBINARY(64) NOT NULL,
    event_type         VARBINARY(128) NOT NULL,
    state              VARBINARY(16) NOT NULL,         -- succeeded | failed
    response_status    BIGINT,
    response_body      MEDIUMTEXT,
    error              MEDIUMTEXT,
    duration_ms        BIGINT NOT NULL,
    plugins            MEDIUMTEXT NOT NULL,
    at_ms              BIGINT NOT NULL,
    next_attempt_at_ms BIGINT,
    PRIMARY KEY (delivery_id, attempt)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
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
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What holds a whole webhook back.
CREATE TABLE jf_gates (
    webhook_id       BIGINT NOT NULL PRIMARY KEY,
    paused_until_ms  BIGINT NOT NULL DEFAULT 0,        -- Retry-After
    open_until_ms    BIGINT NOT NULL DEFAULT 0,        -- the circuit is open until then, then it is probed
    open_for_ms      BIGINT NOT NULL DEFAULT 0,        -- 0: closed
    failing_since_ms BIGINT,                           -- nothing but failures since then
    next_release_us  BIGINT NOT NULL DEFAULT 0         -- rate_limit: when the next one may go
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The last place that was given behind each key.
CREATE TABLE jf_key_order (
    webhook_id BIGINT NOT NULL,
    order_key  VARBINARY(1024) NOT NULL,
    last_seq   BIGINT NOT NULL,
    touched_ms BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, order_key)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE jf_nodes (
    id         VARBINARY(64) NOT NULL PRIMARY KEY,
    slot       BIGINT NOT NULL UNIQUE,
    beat       BIGINT NOT NULL DEFAULT 0,              -- grows while the node lives
    started_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE jf_replays (
    id           VARBINARY(64) NOT NULL PRIMARY KEY,
    tenant_id    VARBINARY(64) NOT NULL,
    webhook_id   BIGINT NOT NULL,
    state        VARBINARY(16) NOT NULL,               -- running | done | cancelled
    since_ms     BIGINT NOT NULL,
    until_ms     BIGINT NOT NULL,
    states       MEDIUMTEXT NOT NULL,                  -- a JSON array of delivery states
    event_types  MEDIUMTEXT NOT NULL,                  -- a JSON array of patterns
    rate         BIGINT NOT NULL,                      -- deliveries a second
    matches      BIGINT NOT NULL,
    done         BIGINT NOT NULL DEFAULT 0,
    last_id      VARBINARY(64) NOT NULL DEFAULT '',    -- where it goes on
    lease_owner  VARBINARY(64),
    created_ms   BIGINT NOT NULL,
    ended_ms     BIGINT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX jf_replays_state ON jf_replays (state);

CREATE TABLE jf_socket_chains (
    tenant_id VARBINARY(64) NOT NULL PRIMARY KEY,
    chain     MEDIUMTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Components as given, by version. The shared ones belong to the tenant ''.
CREATE TABLE jf_plugin_versions (
    tenant_id  VARBINARY(64) NOT NULL,
    name       VARBINARY(255) NOT NULL,
    version    BIGINT NOT NULL,
    sha256     VARBINARY(64) NOT NULL,
    wasm       LONGBLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name, version)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE jf_sessions (
    id         VARBINARY(64) NOT NULL PRIMARY KEY,
    tenant_id  VARBINARY(64) NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_ms   BIGINT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The last agent.state.changed of each user.
CREATE TABLE jf_user_states (
    tenant_id VARBINARY(64) NOT NULL,
    user_id   VARBINARY(1024) NOT NULL,
    state     TEXT   NOT NULL,
    at_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
