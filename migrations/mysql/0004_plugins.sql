-- Which version of each plugin serves. The shared ones belong to the tenant ''. A deleted one leaves its row, so that no
-- number is given twice.
CREATE TABLE jf_plugins (
    tenant_id      VARBINARY(64) NOT NULL,
    name           VARBINARY(255) NOT NULL,
    last_version   BIGINT NOT NULL,
    active_version BIGINT,
    fallback       BIGINT,                        -- serves again when the active one rests; NULL: nothing does
    generation     BIGINT NOT NULL,               -- grows with each change: nodes follow it
    deleted_ms     BIGINT,
    PRIMARY KEY (tenant_id, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO jf_plugins (tenant_id, name, last_version, active_version, generation)
    SELECT tenant_id, name, MAX(version), MAX(version), 1 FROM jf_plugin_versions GROUP BY tenant_id, name;

-- Counts the changes of an owner's plugins: who changes one writes here first, and so in turn.
CREATE TABLE jf_plugin_owners (
    tenant_id VARBINARY(64) NOT NULL PRIMARY KEY,
    changes   BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO jf_plugin_owners (tenant_id, changes) SELECT DISTINCT tenant_id, 1 FROM jf_plugin_versions;

ALTER TABLE jf_plugin_versions ADD COLUMN size_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE jf_plugin_versions SET size_bytes = OCTET_LENGTH(wasm);

-- What of a component is over the 4 MiB that stand with its version: a packet is at most 16 MiB long by default.
CREATE TABLE jf_plugin_parts (
    tenant_id VARBINARY(64) NOT NULL,
    name      VARBINARY(255) NOT NULL,
    version   BIGINT NOT NULL,
    part      BIGINT NOT NULL,
    bytes     LONGBLOB NOT NULL,
    PRIMARY KEY (tenant_id, name, version, part)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
