-- Users whose sockets an administrator closed: their tokens of before are good for none.
CREATE TABLE jf_revocations (
    tenant_id VARBINARY(64) NOT NULL,
    user_id   VARBINARY(1024) NOT NULL,
    before_s  BIGINT NOT NULL,                         -- tokens issued before this second, since the epoch
    PRIMARY KEY (tenant_id, user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
