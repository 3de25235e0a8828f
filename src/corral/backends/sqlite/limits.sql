-- name: read
-- What all workers know of one thing.
SELECT body, version FROM limits WHERE key = ?1;

-- name: put_first
-- Put the first body.
INSERT INTO limits (key, version, body) VALUES (?1, 1, ?2) ON CONFLICT DO NOTHING;

-- name: put_next
-- Put another body in place of one that is still there.
UPDATE limits SET version = version + 1, body = ?2 WHERE key = ?1 AND version = ?3;
