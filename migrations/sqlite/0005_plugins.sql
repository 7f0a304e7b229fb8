-- Which version of each plugin serves. The shared ones belong to the tenant ''. A deleted one leaves its row, so that no
-- number is given twice.
CREATE TABLE jf_plugins (
    tenant_id      TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    last_version   INTEGER NOT NULL,
    active_version INTEGER,
    fallback       INTEGER,                       -- serves again when the active one rests; NULL: nothing does
    generation     INTEGER NOT NULL,               -- grows with each change: nodes follow it
    deleted_ms     INTEGER,
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;
INSERT INTO jf_plugins (tenant_id, name, last_version, active_version, generation)
    SELECT tenant_id, name, MAX(version), MAX(version), 1 FROM jf_plugin_versions GROUP BY tenant_id, name;

-- Counts the changes of an owner's plugins: who changes one writes here first, and so in turn.
CREATE TABLE jf_plugin_owners (
    tenant_id TEXT    NOT NULL PRIMARY KEY,
    changes   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO jf_plugin_owners (tenant_id, changes) SELECT DISTINCT tenant_id, 1 FROM jf_plugin_versions;

ALTER TABLE jf_plugin_versions ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE jf_plugin_versions SET size_bytes = LENGTH(wasm);

-- What of a component is over the 4 MiB that stand with its version.
CREATE TABLE jf_plugin_parts (
    tenant_id TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    part      INTEGER NOT NULL,
    bytes     BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, name, version, part)
);
