-- Values that a tenant lets named plugins read.
CREATE TABLE jf_plugin_secrets (
    tenant_id  VARBINARY(64) NOT NULL,
    name       VARBINARY(64) NOT NULL,
    value      MEDIUMTEXT    NOT NULL,                 -- sealed, where there is an ENCRYPTION_KEY
    plugins    TEXT          NOT NULL,                 -- full names, a JSON list
    created_ms BIGINT        NOT NULL,
    updated_ms BIGINT        NOT NULL,
    PRIMARY KEY (tenant_id, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
