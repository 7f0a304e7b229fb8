-- What the server made for itself and all its nodes share, such as the key of the cache of compiled plugins.
CREATE TABLE jf_settings (
    name  VARBINARY(64) NOT NULL PRIMARY KEY,
    value TEXT          NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
