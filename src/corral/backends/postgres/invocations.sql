-- name: begin
-- Claim a key.
SELECT outcome, known_reply FROM corral.begin_invocation($1, $2, $3, $4, $5, $6);

-- name: renew
-- Keep a claim alive.
UPDATE corral.invocations SET lease_until = corral.now() + $4
WHERE tenant = $1 AND key = $2 AND token = $3 AND reply IS NULL RETURNING 1;

-- name: finish
-- Keep the answer, from now on as long as its claim said.
UPDATE corral.invocations SET reply = $4, expires_at = corral.now() + ttl_s
WHERE tenant = $1 AND key = $2 AND token = $3 RETURNING 1;

-- name: abandon
-- Give a claim up without an answer.
DELETE FROM corral.invocations WHERE tenant = $1 AND key = $2 AND token = $3 AND reply IS NULL;

-- name: expire
-- Sweep answers past their time, and claims past theirs whose run is dead; other sweepers take other keys.
WITH gone AS (
    DELETE FROM corral.invocations WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.invocations
        WHERE expires_at <= (SELECT corral.now()) AND (reply IS NOT NULL OR lease_until <= (SELECT corral.now()))
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
