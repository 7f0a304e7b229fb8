-- What was missed by users who were away, and what was last announced of each user's presence.

-- A user's list, oldest first by `id`.
CREATE TABLE jf_offline (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id    TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    frame        TEXT    NOT NULL,                     -- as a socket gets it
    epoch        TEXT,                                 -- the frame's place in its tenant's history, where it has one
    epoch_offset INTEGER,
    at_ms        INTEGER NOT NULL
);
CREATE INDEX jf_offline_user ON jf_offline (tenant_id, user_id, id);

-- Grows by one with each announcement: odd says online, even says offline. A row stays for ever, or an announcement would
-- get the id of an old one.
CREATE TABLE jf_presence (
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    is_online  INTEGER NOT NULL GENERATED ALWAYS AS (generation % 2) VIRTUAL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) WITHOUT ROWID;
CREATE INDEX jf_presence_online ON jf_presence (is_online, tenant_id, user_id);

-- What is known of the database itself, by name: its `id`.
CREATE TABLE jf_database (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX jf_sessions_ended ON jf_sessions (ended_ms) WHERE ended_ms IS NOT NULL;
