-- What came of calls of tools, by idempotency key. Without a reply the call goes on, as long as its lease.
CREATE TABLE tool_effects (
    tenant      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    tool        TEXT NOT NULL,
    token       TEXT NOT NULL,
    begun_at    REAL NOT NULL,
    lease_until REAL NOT NULL,
    ttl_s       REAL NOT NULL,
    expires_at  REAL NOT NULL,
    reply       BLOB,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX tool_effects_by_expiry ON tool_effects (expires_at);

-- Results too long for a conversation.
CREATE TABLE tool_artefacts (
    tenant     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    expires_at REAL NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (tenant, owner, name)
);
CREATE INDEX tool_artefacts_by_expiry ON tool_artefacts (expires_at);
