-- Users whose sockets an administrator closed: their tokens of before are good for none.
CREATE TABLE jf_revocations (
    tenant_id TEXT   COLLATE "C" NOT NULL,
    user_id   TEXT   COLLATE "C" NOT NULL,
    before_s  BIGINT NOT NULL,                         -- tokens issued before this second, since the epoch
    PRIMARY KEY (tenant_id, user_id)
);
