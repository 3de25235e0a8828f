-- Entries of the cache. What changes with every use is apart from the values, which may be large.
CREATE TABLE cache_entries (
    number      INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    key         BLOB    NOT NULL,
    kind        TEXT    NOT NULL,
    size        INTEGER NOT NULL,
    tagged      INTEGER NOT NULL,
    created_at  REAL    NOT NULL,
    fresh_until REAL    NOT NULL,
    expires_at  REAL    NOT NULL,
    used_at     REAL    NOT NULL,
    UNIQUE (tenant, key)
);
CREATE INDEX cache_entries_by_expiry ON cache_entries (expires_at);
CREATE INDEX cache_entries_by_use ON cache_entries (used_at, size);
CREATE INDEX cache_entries_by_kind ON cache_entries (tenant, kind, size);

CREATE TABLE cache_values (
    entry INTEGER PRIMARY KEY,
    value BLOB NOT NULL
);

CREATE TABLE cache_tags (
    tenant TEXT    NOT NULL,
    tag    TEXT    NOT NULL,
    entry  INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, entry)
) WITHOUT ROWID;
CREATE INDEX cache_tags_by_entry ON cache_tags (entry);

CREATE TRIGGER cache_entry_goes AFTER DELETE ON cache_entries BEGIN
    DELETE FROM cache_values WHERE entry = OLD.number;
    DELETE FROM cache_tags WHERE entry = OLD.number;
END;

-- Who asks for a value now.
CREATE TABLE cache_leases (
    tenant      TEXT NOT NULL,
    key         BLOB NOT NULL,
    holder      TEXT NOT NULL,
    lease_until REAL NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX cache_leases_by_end ON cache_leases (lease_until);

-- Grows with every clearing.
CREATE TABLE cache_generations (
    tenant     TEXT    PRIMARY KEY,
    generation INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE cache_totals (
    tenant    TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    hits      INTEGER NOT NULL,
    misses    INTEGER NOT NULL,
    saved_usd REAL    NOT NULL,
    PRIMARY KEY (tenant, kind)
) WITHOUT ROWID;
