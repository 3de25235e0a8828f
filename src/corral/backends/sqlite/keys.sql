-- name: head
-- What changed.
SELECT version, seal FROM key_head;

-- name: seal
-- Choose a seal, unless there is one.
INSERT INTO key_head (one, version, seal) VALUES (1, 0, :seal) ON CONFLICT DO NOTHING;

-- name: changed
-- Tell all workers that a key changed.
INSERT INTO key_head (one, version, seal) VALUES (1, 1, x'') ON CONFLICT (one) DO UPDATE SET version = version + 1;

-- name: count
-- How many keys of a tenant are not over.
SELECT count(*) FROM api_keys
WHERE tenant = :tenant AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now);

-- name: create
-- Keep a key, unless its id is taken.
INSERT INTO api_keys (id, tenant, digest, body, created_at, expires_at)
VALUES (:id, :tenant, :digest, :body, :now, :now + :ttl_s)
ON CONFLICT DO NOTHING
RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
    revoked_at, number;

-- name: find
-- A key of whatever tenant.
SELECT id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at, revoked_at,
    number
FROM api_keys WHERE id = :id;

-- name: list
-- A tenant's keys, the latest first.
SELECT id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at, revoked_at,
    number
FROM api_keys WHERE tenant = :tenant AND number < :before ORDER BY number DESC LIMIT :limit;

-- name: rotate
-- Put another key in its place.
UPDATE api_keys SET
    old_digest = digest, old_until = :now + :grace_s, digest = :digest, turn = turn + 1, rotated_at = :now,
    expires_at = coalesce(:now + :ttl_s, expires_at)
WHERE id = :id
RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
    revoked_at, number;

-- name: revoke
-- Let nobody in with it any more.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, :now)
WHERE id = :id AND tenant = :tenant
RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
    revoked_at, number;

-- name: touch
-- Say when a key was used last.
UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2);

-- name: spend
-- Remember a token, unless it was shown before and is remembered still.
INSERT INTO spent_tokens (token, until) VALUES (:token, :until)
ON CONFLICT (token) DO UPDATE SET until = excluded.until WHERE spent_tokens.until <= :now;

-- name: expire_keys
-- Sweep keys that are over.
DELETE FROM api_keys WHERE number IN (
    SELECT number FROM api_keys
    WHERE min(coalesce(revoked_at, 1e18), coalesce(expires_at, 1e18)) < :before
    ORDER BY min(coalesce(revoked_at, 1e18), coalesce(expires_at, 1e18)) LIMIT :limit);

-- name: expire_tokens
-- Sweep tokens that are past their time.
DELETE FROM spent_tokens WHERE token IN (SELECT token FROM spent_tokens WHERE until <= :now ORDER BY until LIMIT :limit);
