-- name: make_ledger
-- Where applied steps are written down.
CREATE TABLE IF NOT EXISTS corral_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    checksum   TEXT NOT NULL,
    applied_at REAL NOT NULL
);

-- name: has_ledger
-- Was this file ever used.
SELECT 1 FROM sqlite_master WHERE name = 'corral_migrations';

-- name: applied
-- The steps this file has.
SELECT version, checksum FROM corral_migrations;

-- name: newest_fence
-- The newest step with which programs that do not know it cannot go on.
SELECT coalesce(max(version), 0) FROM corral_migrations WHERE substr(name, 1, 6) = 'fence_';

-- name: note
-- Write a step down.
INSERT INTO corral_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?);
