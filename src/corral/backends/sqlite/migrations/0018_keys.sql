-- API keys, of which only a digest is kept.

CREATE TABLE key_head (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    seal    BLOB    NOT NULL
);

CREATE TABLE api_keys (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    tenant       TEXT    NOT NULL,
    digest       BLOB    NOT NULL,
    body         BLOB    NOT NULL,
    turn         INTEGER NOT NULL DEFAULT 1,
    old_digest   BLOB    NOT NULL DEFAULT x'',
    old_until    REAL    NOT NULL DEFAULT 0,
    created_at   REAL    NOT NULL,
    rotated_at   REAL,
    expires_at   REAL,
    last_used_at REAL,
    revoked_at   REAL
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, number);
CREATE INDEX api_keys_by_end ON api_keys (min(coalesce(revoked_at, 1e18), coalesce(expires_at, 1e18)));

CREATE TABLE spent_tokens (
    token BLOB PRIMARY KEY,
    until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX spent_tokens_by_age ON spent_tokens (until);
