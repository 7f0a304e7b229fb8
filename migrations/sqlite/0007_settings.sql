-- What the server made for itself and all its nodes share, such as the key of the cache of compiled plugins.
CREATE TABLE jf_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
