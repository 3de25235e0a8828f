-- API keys, of which only a digest is kept.

CREATE TABLE corral.key_head (
    one     smallint PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL,
    seal    bytea NOT NULL
);

CREATE TABLE corral.api_keys (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL UNIQUE,
    tenant       text COLLATE "C" NOT NULL,
    digest       bytea NOT NULL,
    body         bytea NOT NULL,
    turn         bigint NOT NULL DEFAULT 1,
    old_digest   bytea NOT NULL DEFAULT '',
    old_until    double precision NOT NULL DEFAULT 0,
    created_at   double precision NOT NULL,
    rotated_at   double precision,
    expires_at   double precision,
    last_used_at double precision,
    revoked_at   double precision
);
CREATE INDEX api_keys_by_tenant ON corral.api_keys (tenant, number);
CREATE INDEX api_keys_by_end ON corral.api_keys (least(revoked_at, expires_at));

CREATE TABLE corral.spent_tokens (
    token bytea PRIMARY KEY,
    until double precision NOT NULL
);
CREATE INDEX spent_tokens_by_age ON corral.spent_tokens (until);
