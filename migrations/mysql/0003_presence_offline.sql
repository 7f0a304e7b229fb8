-- What was missed by users who were away, and what was last announced of each user's presence.

-- A user's list, oldest first by `id`.
CREATE TABLE jf_offline (
    id           BIGINT AUTO_INCREMENT PRIMARY KEY,
    tenant_id    VARBINARY(64) NOT NULL,
    user_id      VARBINARY(1024) NOT NULL,
    event_type   VARBINARY(128) NOT NULL,
    frame        MEDIUMTEXT NOT NULL,                  -- as a socket gets it
    epoch        VARBINARY(64),                        -- the frame's place in its tenant's history, where it has one
    epoch_offset BIGINT,
    at_ms        BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX jf_offline_user ON jf_offline (tenant_id, user_id, id);

-- Grows by one with each announcement: odd says online, even says offline. A row stays for ever, or an announcement would
-- get the id of an old one.
CREATE TABLE jf_presence (
    tenant_id  VARBINARY(64) NOT NULL,
    user_id    VARBINARY(1024) NOT NULL,
    generation BIGINT NOT NULL,
    is_online  BIGINT AS (generation % 2) VIRTUAL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX jf_presence_online ON jf_presence (is_online, tenant_id, user_id);

-- What is known of the database itself, by name: its `id`.
CREATE TABLE jf_database (
    name  VARBINARY(64) NOT NULL PRIMARY KEY,
    value MEDIUMTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE INDEX jf_sessions_ended ON jf_sessions (ended_ms);
