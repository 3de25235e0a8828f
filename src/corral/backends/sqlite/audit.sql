-- name: append
-- Keep an entry under a number that nobody has.
INSERT INTO audit (tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details, number,
    hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: known
-- Which of these entries a tenant has.
SELECT id FROM audit WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2));

-- name: standing
-- The last number and hash of a tenant, and how far the chain has come.
SELECT number, hash, chained FROM audit_heads WHERE tenant = ?1;

-- name: stand
-- Move a tenant's head.
INSERT INTO audit_heads (tenant, number, hash, chained) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (tenant) DO UPDATE SET number = excluded.number, hash = excluded.hash, chained = excluded.chained;

-- name: entries
-- A tenant's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details, hash
FROM audit NOT INDEXED
WHERE tenant = :tenant AND number < :before AND at >= :since AND at < :until
    AND (:action IS NULL OR action = :action) AND (:subject IS NULL OR subject = :subject)
    AND (:decision IS NULL OR decision = :decision) AND (:rule IS NULL OR rule = :rule)
    AND (:actor IS NULL OR actor = :actor) AND (:agent IS NULL OR agent = :agent)
    AND (:session_id IS NULL OR session_id = :session_id) AND (:run_id IS NULL OR run_id = :run_id)
ORDER BY number DESC LIMIT :limit;

-- name: entries_of_run
-- A run's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details, hash
FROM audit INDEXED BY audit_by_run
WHERE tenant = :tenant AND run_id = :run_id AND number < :before AND at >= :since AND at < :until
    AND (:action IS NULL OR action = :action) AND (:subject IS NULL OR subject = :subject)
    AND (:decision IS NULL OR decision = :decision) AND (:rule IS NULL OR rule = :rule)
    AND (:actor IS NULL OR actor = :actor) AND (:agent IS NULL OR agent = :agent)
    AND (:session_id IS NULL OR session_id = :session_id)
ORDER BY number DESC LIMIT :limit;

-- name: head
-- Where a tenant stands.
SELECT head.tenant, head.number, head.hash, head.chained, head.swept, head.swept_hash, mark.number, mark.at
FROM audit_heads AS head LEFT JOIN audit_checkpoints AS mark ON mark.tenant = head.tenant AND mark.kind = 'head'
    AND mark.number = (SELECT max(number) FROM audit_checkpoints WHERE tenant = head.tenant AND kind = 'head')
WHERE head.tenant = ?1;

-- name: heads
-- Where all stand.
SELECT head.tenant, head.number, head.hash, head.chained, head.swept, head.swept_hash, mark.number, mark.at
FROM audit_heads AS head LEFT JOIN audit_checkpoints AS mark ON mark.tenant = head.tenant AND mark.kind = 'head'
    AND mark.number = (SELECT max(number) FROM audit_checkpoints WHERE tenant = head.tenant AND kind = 'head')
WHERE head.tenant > ?1 ORDER BY head.tenant LIMIT ?2;

-- name: chain
-- A tenant's entries behind a number, the lowest first. Texts as their bytes: what was changed need not be text.
SELECT number, hash, tenant, CAST(id AS BLOB), at, CAST(action AS BLOB), CAST(subject AS BLOB), CAST(decision AS BLOB),
    CAST(rule AS BLOB), CAST(reason AS BLOB), CAST(actor AS BLOB), CAST(agent AS BLOB), CAST(session_id AS BLOB),
    CAST(run_id AS BLOB), CAST(details AS BLOB)
FROM audit NOT INDEXED WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3;

-- name: unsealed
-- A tenant with entries from before the chain.
SELECT tenant, chained, hash FROM audit_heads WHERE chained < number LIMIT 1;

-- name: seal
-- Take an entry into the chain.
UPDATE audit SET details = ?3, hash = ?4 WHERE tenant = ?1 AND number = ?2;

-- name: sealed
-- So far the chain has come.
UPDATE audit_heads SET chained = ?2, hash = ?3 WHERE tenant = ?1;

-- name: to_seal
-- The next entries to be taken in.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details
FROM audit NOT INDEXED WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3;

-- name: old
-- The oldest entries of those tenants that have old ones, in order.
WITH oldest AS (SELECT tenant FROM audit INDEXED BY audit_by_age WHERE at < ?1 ORDER BY at LIMIT ?2),
    tenants AS (
        SELECT oldest.tenant, count(*) AS many,
            (SELECT min(number) FROM audit NOT INDEXED WHERE audit.tenant = oldest.tenant) AS first
        FROM oldest GROUP BY oldest.tenant)
SELECT one.tenant, head.swept, one.number, one.at, one.hash
FROM tenants CROSS JOIN audit AS one NOT INDEXED CROSS JOIN audit_heads AS head
WHERE one.tenant = tenants.tenant AND one.number < tenants.first + tenants.many AND head.tenant = tenants.tenant
ORDER BY one.tenant, one.number;

-- name: place_stub
-- Say how far a tenant's oldest entries are gone, where the last of them is what is said.
UPDATE audit_heads SET swept = ?2, swept_hash = ?3
WHERE tenant = ?1 AND swept < ?2 AND EXISTS (SELECT 1 FROM audit WHERE tenant = ?1 AND number = ?2 AND hash = ?3);

-- name: sweep
-- Let a tenant's oldest entries go.
DELETE FROM audit WHERE tenant = ?1 AND number <= ?2
    AND number <= (SELECT swept FROM audit_heads WHERE tenant = ?1);

-- name: sweep_checkpoints
-- Let go what was said of entries that are gone.
DELETE FROM audit_checkpoints WHERE tenant = ?1 AND number < ?2;

-- name: keep
-- Keep what a key said.
INSERT INTO audit_checkpoints (tenant, kind, number, hash, at, algorithm, key_id, signature)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING;

-- name: checkpoints
-- What keys said, the lowest number first.
SELECT tenant, kind, number, hash, at, algorithm, key_id, signature FROM audit_checkpoints
WHERE tenant = ?1 AND number > ?2 ORDER BY number, kind LIMIT ?3;
