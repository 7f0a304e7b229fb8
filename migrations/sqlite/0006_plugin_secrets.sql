-- Values that a tenant lets named plugins read.
CREATE TABLE jf_plugin_secrets (
    tenant_id  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,                       -- sealed, where there is an ENCRYPTION_KEY
    plugins    TEXT    NOT NULL,                       -- full names, a JSON list
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;
