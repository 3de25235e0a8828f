-- name: head
-- What changed.
SELECT version, seal FROM corral.key_head;

-- name: seal
-- Choose a seal, unless there is one.
INSERT INTO corral.key_head (one, version, seal) VALUES (1, 0, $1) ON CONFLICT DO NOTHING;

-- name: create
-- Keep a key, unless its id is taken or its tenant has too many, and tell all workers.
WITH standing AS (
    SELECT count(*) AS number FROM corral.api_keys
    WHERE tenant = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > corral.now())
), made AS (
    INSERT INTO corral.api_keys (id, tenant, digest, body, created_at, expires_at)
    SELECT $1, $2, $3, $4, corral.now(), corral.now() + $5::double precision FROM standing WHERE standing.number < $6
    ON CONFLICT DO NOTHING
    RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
        revoked_at
), changed AS (
    INSERT INTO corral.key_head AS head (one, version, seal) SELECT 1, 1, ''::bytea FROM made
    ON CONFLICT (one) DO UPDATE SET version = head.version + 1
)
SELECT standing.number, made.* FROM standing LEFT JOIN made ON true;

-- name: find
-- A key of whatever tenant.
SELECT id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at, revoked_at
FROM corral.api_keys WHERE id = $1;

-- name: list
-- A tenant's keys, the latest first.
SELECT id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at, revoked_at,
    number
FROM corral.api_keys WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3;

-- name: rotate
-- Put another key in the place of one that is not over, and tell all workers.
WITH rotated AS (
    UPDATE corral.api_keys SET
        old_digest = digest, old_until = corral.now() + $4::double precision, digest = $3, turn = turn + 1,
        rotated_at = corral.now(), expires_at = coalesce(corral.now() + $5::double precision, expires_at)
    WHERE id = $1 AND tenant = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > corral.now())
    RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
        revoked_at
), changed AS (
    UPDATE corral.key_head SET version = version + 1 FROM rotated
)
SELECT * FROM rotated;

-- name: revoke
-- Let nobody in with it any more, and tell all workers.
WITH revoked AS (
    UPDATE corral.api_keys SET revoked_at = coalesce(revoked_at, corral.now())
    WHERE id = $1 AND tenant = $2
    RETURNING id, tenant, digest, body, turn, old_digest, old_until, created_at, rotated_at, expires_at, last_used_at,
        revoked_at
), changed AS (
    UPDATE corral.key_head SET version = version + 1 FROM revoked
)
SELECT * FROM revoked;

-- name: touch
-- Say when keys were used last.
UPDATE corral.api_keys AS key SET last_used_at = used.at
FROM (SELECT id, max(at) AS at FROM unnest($1::text[], $2::double precision[]) AS each(id, at) GROUP BY id) AS used
WHERE key.id = used.id AND (key.last_used_at IS NULL OR key.last_used_at < used.at);

-- name: spend
-- Remember a token, unless it was shown before and is remembered still.
INSERT INTO corral.spent_tokens AS spent (token, until) VALUES ($1, $2)
ON CONFLICT (token) DO UPDATE SET until = excluded.until WHERE spent.until <= corral.now()
RETURNING 1;

-- name: expire
-- Sweep keys that are over, and tokens that are past their time; other sweepers take others.
WITH keys AS (
    DELETE FROM corral.api_keys WHERE number IN (
        SELECT number FROM corral.api_keys WHERE least(revoked_at, expires_at) < $1
        ORDER BY least(revoked_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
), tokens AS (
    DELETE FROM corral.spent_tokens WHERE token IN (
        SELECT token FROM corral.spent_tokens WHERE until <= corral.now() ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
)
SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM tokens);
