-- name: news
-- A tenant's generation and the last change in a scope, and with them the answers that came or changed.
SELECT (SELECT generation FROM corral.semantic_generations WHERE tenant = $1),
    (SELECT change FROM corral.semantic_scopes WHERE tenant = $1 AND scope = $2),
    answer.id, answer.question, answer.vector, answer.wrong, answer.expires_at - clock.now, answer.change
FROM (SELECT corral.now() AS now OFFSET 0) AS clock
LEFT JOIN LATERAL (
    SELECT * FROM corral.semantic_answers
    WHERE tenant = $1 AND scope = $2 AND change > $3 AND expires_at > clock.now
    ORDER BY change LIMIT $4
) AS answer ON true
ORDER BY answer.change;

-- name: take
-- One answer.
SELECT answer.value, answer.question, answer.wrong, clock.now - answer.created_at
FROM corral.semantic_answers AS answer, (SELECT corral.now() AS now) AS clock
WHERE answer.tenant = $1 AND answer.id = $2 AND answer.expires_at > clock.now;

-- name: put
-- Keep answers.
SELECT corral.semantic_put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: label
-- Add evidence.
SELECT corral.semantic_label($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: route
-- When and why a route began anew.
SELECT since, reason FROM corral.semantic_routes WHERE tenant = $1 AND route = $2;

-- name: bins
-- Labels of a route by their step.
SELECT step, count(*), count(*) FILTER (WHERE NOT same) FROM corral.semantic_labels
WHERE tenant = $1 AND route = $2 AND at > $3 GROUP BY step ORDER BY step DESC;

-- name: audits
-- The latest audits of a route.
SELECT count(*), count(*) FILTER (WHERE NOT same) FROM (
    SELECT same FROM corral.semantic_labels WHERE tenant = $1 AND route = $2 AND at > $3 AND audited
    ORDER BY number DESC LIMIT $4) AS latest;

-- name: restart
-- Evidence until now counts no longer.
INSERT INTO corral.semantic_routes AS known (tenant, route, model, embedder, since, reason)
VALUES ($1, $2, $3, $4, corral.now(), $5)
ON CONFLICT (tenant, route) DO UPDATE SET since = excluded.since, reason = excluded.reason;

-- name: tally
-- Count.
INSERT INTO corral.semantic_routes AS known (tenant, route, model, embedder, hits, misses, saved_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, route) DO UPDATE SET
    hits = known.hits + excluded.hits, misses = known.misses + excluded.misses, saved_usd = known.saved_usd + excluded.saved_usd;

-- name: used
-- Answers were given.
WITH rows AS (
    SELECT id FROM corral.semantic_answers WHERE tenant = $1 AND id = ANY ($2::bytea[]) FOR UPDATE SKIP LOCKED
)
UPDATE corral.semantic_answers AS answer SET used_at = corral.now() FROM rows WHERE answer.tenant = $1 AND answer.id = rows.id;

-- name: routes
-- The routes of a tenant.
SELECT route, model, embedder, hits, misses, saved_usd FROM corral.semantic_routes WHERE tenant = $1
ORDER BY hits DESC, route LIMIT 200;

-- name: wrongs
-- The latest wrong ones.
SELECT at, route, score, audited, question, kept FROM corral.semantic_labels WHERE tenant = $1 AND NOT same
ORDER BY number DESC LIMIT $2;

-- name: count
-- How many answers a tenant has.
SELECT count(*) FROM corral.semantic_answers WHERE tenant = $1 AND expires_at > corral.now();

-- name: drop
-- Throw answers away.
SELECT corral.semantic_drop($1, $2);

-- name: sweep
-- Make room.
SELECT corral.semantic_sweep($1, $2);
