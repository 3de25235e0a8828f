-- name: lock
-- Keep other processes from doing the same until this transaction ends.
SELECT pg_advisory_xact_lock($1);

-- name: has_schema
-- Asked before making it, because the right to make it is demanded even when it is there.
SELECT 1 FROM pg_namespace WHERE nspname = 'corral';

-- name: make_ledger
-- Where applied steps are written down.
CREATE TABLE IF NOT EXISTS corral.migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: has_ledger
-- Was this database ever used.
SELECT to_regclass('corral.migrations') IS NOT NULL;

-- name: applied
-- The steps this database has.
SELECT version, checksum FROM corral.migrations;

-- name: newest_fence
-- The newest step with which programs that do not know it cannot go on.
SELECT coalesce(max(version), 0) FROM corral.migrations WHERE substr(name, 1, 6) = 'fence_';

-- name: note
-- Write a step down.
INSERT INTO corral.migrations (version, name, checksum) VALUES ($1, $2, $3);
