-- name: get
-- A tenant's generation, and with it those of its entries that are there.
SELECT (SELECT generation FROM corral.cache_generations WHERE tenant = $1) AS generation,
    entry.key, entry.value, clock.now - entry.created_at, entry.fresh_until - clock.now, entry.expires_at - clock.now
FROM (SELECT corral.now() AS now OFFSET 0) AS clock
LEFT JOIN corral.cache_entries AS entry
    ON entry.tenant = $1 AND entry.key = ANY ($2::bytea[]) AND entry.expires_at > clock.now;

-- name: put
-- Keep values.
SELECT corral.cache_put($1, $2, $3, $4, $5, $6, $7, $8);

-- name: claim
-- A value, or the right to ask for it.
SELECT o_ours, o_value, o_age, o_fresh, o_left FROM corral.cache_claim($1, $2, $3, $4);

-- name: release
-- Give the right to ask up.
DELETE FROM corral.cache_leases WHERE tenant = $1 AND key = $2 AND holder = $3;

-- name: drop
-- Throw entries away.
SELECT corral.cache_drop($1, $2, $3);

-- name: tally
-- Count, and remember what was used.
WITH counted AS (
    INSERT INTO corral.cache_totals AS total (tenant, kind, hits, misses, saved_usd)
    SELECT tenant, kind, sum(hits), sum(misses), sum(saved)
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::double precision[])
        AS one (tenant, kind, hits, misses, saved)
    GROUP BY tenant, kind ORDER BY tenant, kind
    ON CONFLICT (tenant, kind) DO UPDATE SET
        hits = total.hits + excluded.hits, misses = total.misses + excluded.misses,
        saved_usd = total.saved_usd + excluded.saved_usd
), rows AS (
    SELECT entry.tenant, entry.key FROM corral.cache_entries AS entry
    JOIN (SELECT DISTINCT tenant, key FROM unnest($6::text[], $7::bytea[]) AS one (tenant, key)) AS used USING (tenant, key)
    FOR UPDATE OF entry SKIP LOCKED
)
UPDATE corral.cache_entries AS entry SET used_at = greatest(used_at, clock.now)
FROM rows, (SELECT corral.now() AS now) AS clock
WHERE entry.tenant = rows.tenant AND entry.key = rows.key;

-- name: stats
-- How much a tenant has of each kind, and what it was good for.
SELECT kind, coalesce(entries, 0), coalesce(bytes, 0), coalesce(hits, 0), coalesce(misses, 0), coalesce(saved_usd, 0)
FROM (
    SELECT kind, count(*) AS entries, sum(size) AS bytes FROM corral.cache_entries WHERE tenant = $1 GROUP BY kind
) AS there
FULL JOIN (SELECT kind, hits, misses, saved_usd FROM corral.cache_totals WHERE tenant = $1) AS good USING (kind)
ORDER BY kind;

-- name: sweep
-- Make room.
SELECT corral.cache_sweep($1, $2, $3);
