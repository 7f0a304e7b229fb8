-- Values that a tenant lets named plugins read.
CREATE TABLE jf_plugin_secrets (
    tenant_id  TEXT   COLLATE "C" NOT NULL,
    name       TEXT   COLLATE "C" NOT NULL,
    value      TEXT   NOT NULL,                        -- sealed, where there is an ENCRYPTION_KEY
    plugins    TEXT   NOT NULL,                        -- full names, a JSON list
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
