-- What is declared: memories with their strategies, runtimes with versions and endpoints, as small JSON documents.

CREATE TABLE resources (
    number     INTEGER PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    parent     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    revision   INTEGER NOT NULL DEFAULT 1,
    created_at REAL    NOT NULL,
    updated_at REAL    NOT NULL,
    expires_at REAL,
    body       BLOB    NOT NULL,
    UNIQUE (tenant, kind, id)
);
CREATE UNIQUE INDEX resources_by_name ON resources (tenant, kind, parent, name) WHERE name <> '';
CREATE INDEX resources_by_parent ON resources (tenant, parent, kind, number);
CREATE INDEX resources_by_expiry ON resources (expires_at) WHERE expires_at IS NOT NULL;
