-- What was missed by users who were away, and what was last announced of each user's presence.

-- A user's list, oldest first by `id`.
CREATE TABLE jf_offline (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    TEXT   COLLATE "C" NOT NULL,
    user_id      TEXT   COLLATE "C" NOT NULL,
    event_type   TEXT   COLLATE "C" NOT NULL,
    frame        TEXT   NOT NULL,                      -- as a socket gets it
    epoch        TEXT   COLLATE "C",                   -- the frame's place in its tenant's history, where it has one
    epoch_offset BIGINT,
    at_ms        BIGINT NOT NULL
);
CREATE INDEX jf_offline_user ON jf_offline (tenant_id, user_id, id);

-- Grows by one with each announcement: odd says online, even says offline. A row stays for ever, or an announcement would
-- get the id of an old one.
CREATE TABLE jf_presence (
    tenant_id  TEXT   COLLATE "C" NOT NULL,
    user_id    TEXT   COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    is_online  BIGINT NOT NULL GENERATED ALWAYS AS (generation % 2) STORED,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) WITH (fillfactor = 50);
CREATE INDEX jf_presence_online ON jf_presence (is_online, tenant_id, user_id);

-- What is known of the database itself, by name: its `id`.
CREATE TABLE jf_database (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE INDEX jf_sessions_ended ON jf_sessions (ended_ms) WHERE ended_ms IS NOT NULL;
