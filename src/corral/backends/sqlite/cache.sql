-- name: generation
-- How often a tenant's entries were cleared.
SELECT generation FROM cache_generations WHERE tenant = ?1;

-- name: get
-- One entry that is still there.
SELECT v.value, e.created_at, e.fresh_until, e.expires_at
FROM cache_entries AS e JOIN cache_values AS v ON v.entry = e.number
WHERE e.tenant = ?1 AND e.key = ?2 AND e.expires_at > ?3;

-- name: keys
-- What there is, some at a time.
SELECT number, key FROM cache_entries WHERE number > ?1 ORDER BY number LIMIT ?2;

-- name: newest
-- The number of the newest entry: another one than this process left once another one has kept something.
SELECT coalesce(max(number), 0) FROM cache_entries;

-- name: has_leases
-- Whether anybody has the right to ask for anything.
SELECT EXISTS (SELECT 1 FROM cache_leases);

-- name: put
-- Keep an entry, over what was there before.
INSERT INTO cache_entries (tenant, key, kind, size, tagged, created_at, fresh_until, expires_at, used_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE SET
    kind = excluded.kind, size = excluded.size, tagged = tagged OR excluded.tagged, created_at = excluded.created_at,
    fresh_until = excluded.fresh_until, expires_at = excluded.expires_at, used_at = excluded.used_at
RETURNING key, number, tagged;

-- name: put_value
-- The value of an entry.
INSERT INTO cache_values (entry, value) VALUES (?, ?) ON CONFLICT (entry) DO UPDATE SET value = excluded.value;

-- name: forget_tags
-- An entry's tags before it was kept anew.
DELETE FROM cache_tags WHERE entry = ?1;

-- name: put_tag
-- A name under which an entry can be thrown away.
INSERT INTO cache_tags (tenant, tag, entry) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING;

-- name: claim
-- Take or keep the right to ask, unless somebody else has it.
INSERT INTO cache_leases (tenant, key, holder, lease_until) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (tenant, key) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE cache_leases.holder = excluded.holder OR cache_leases.lease_until <= ?5;

-- name: end_lease
-- The value is there.
DELETE FROM cache_leases WHERE tenant = ?1 AND key = ?2;

-- name: release
-- Give the right to ask up.
DELETE FROM cache_leases WHERE tenant = ?1 AND key = ?2 AND holder = ?3;

-- name: clear
-- All entries of a tenant, of one kind or of every kind.
DELETE FROM cache_entries WHERE tenant = ?1 AND (?2 IS NULL OR kind = ?2);

-- name: clear_tag
-- A tenant's entries under one tag.
DELETE FROM cache_entries
WHERE number IN (SELECT entry FROM cache_tags WHERE tenant = ?1 AND tag = ?2) AND (?3 IS NULL OR kind = ?3);

-- name: next_generation
-- Copies that others made are worth nothing from now on.
INSERT INTO cache_generations (tenant, generation) VALUES (?1, 1)
ON CONFLICT (tenant) DO UPDATE SET generation = generation + 1;

-- name: count
-- Add to what a tenant's entries were good for.
INSERT INTO cache_totals (tenant, kind, hits, misses, saved_usd) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (tenant, kind) DO UPDATE SET
    hits = hits + excluded.hits, misses = misses + excluded.misses, saved_usd = saved_usd + excluded.saved_usd;

-- name: used
-- An entry was used.
UPDATE cache_entries SET used_at = ?1 WHERE tenant = ?2 AND key = ?3 AND used_at < ?1;

-- name: stats
-- How much a tenant has of each kind. Seldom asked: the entries are read in the order they lie in.
SELECT kind, count(*), sum(size) FROM cache_entries NOT INDEXED WHERE tenant = ?1 GROUP BY kind;

-- name: totals
-- What a tenant's entries were good for.
SELECT kind, hits, misses, saved_usd FROM cache_totals WHERE tenant = ?1;

-- name: expire
-- Throw away what is past its time.
DELETE FROM cache_entries
WHERE number IN (SELECT number FROM cache_entries WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2);

-- name: end_leases
-- Nobody holds these any more.
DELETE FROM cache_leases
WHERE (tenant, key) IN (SELECT tenant, key FROM cache_leases WHERE lease_until <= ?1 ORDER BY lease_until LIMIT ?2);

-- name: extent
-- How many entries there are, and how large they are together.
SELECT count(*), coalesce(sum(size), 0) FROM cache_entries;

-- name: evict_oldest
-- Throw away those that were not used for the longest time.
DELETE FROM cache_entries WHERE number IN (SELECT number FROM cache_entries ORDER BY used_at, number LIMIT ?1);

-- name: evict
-- Throw away what was not used for the longest time, until so many entries and so many bytes are gone.
DELETE FROM cache_entries WHERE number IN (
    SELECT number FROM (
        SELECT number, size, row_number() OVER oldest AS place, sum(size) OVER oldest AS gone
        FROM (SELECT number, used_at, size FROM cache_entries ORDER BY used_at, number LIMIT ?3)
        WINDOW oldest AS (ORDER BY used_at, number ROWS UNBOUNDED PRECEDING)
    ) WHERE place <= ?1 OR gone - size < ?2
);
