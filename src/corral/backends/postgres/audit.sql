-- name: append
-- Keep entries under their tenants' next numbers, each once.
SELECT corral.append_audit(
    $1::text[], $2::text[], $3::double precision[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::bytea[], $14::bytea[]);

-- name: entries
-- A tenant's entries, the highest number first.
SELECT number, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details, hash
FROM corral.audit
WHERE tenant = $1 AND number < $2 AND at >= $3 AND at < $4
    AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR subject = $6) AND ($7::text IS NULL OR decision = $7)
    AND ($8::text IS NULL OR rule = $8) AND ($9::text IS NULL OR actor = $9) AND ($10::text IS NULL OR agent = $10)
    AND ($11::text IS NULL OR session_id = $11) AND ($12::text IS NULL OR run_id = $12)
ORDER BY number DESC LIMIT $13;

-- name: head
-- Where a tenant stands.
SELECT head.tenant, head.number, head.hash, head.chained, head.swept, head.swept_hash, mark.number, mark.at
FROM corral.audit_heads AS head LEFT JOIN LATERAL (
    SELECT one.number, one.at FROM corral.audit_checkpoints AS one WHERE one.tenant = head.tenant AND one.kind = 'head'
    ORDER BY one.number DESC LIMIT 1) AS mark ON true
WHERE head.tenant = $1;

-- name: heads
-- Where all stand.
SELECT head.tenant, head.number, head.hash, head.chained, head.swept, head.swept_hash, mark.number, mark.at
FROM corral.audit_heads AS head LEFT JOIN LATERAL (
    SELECT one.number, one.at FROM corral.audit_checkpoints AS one WHERE one.tenant = head.tenant AND one.kind = 'head'
    ORDER BY one.number DESC LIMIT 1) AS mark ON true
WHERE head.tenant > $1 ORDER BY head.tenant LIMIT $2;

-- name: chain
-- A tenant's entries behind a number, the lowest first.
SELECT number, hash, tenant, id, at, action, subject, decision, rule, reason, actor, agent, session_id, run_id, details
FROM corral.audit WHERE tenant = $1 AND number > $2 ORDER BY number LIMIT $3;

-- name: unsealed
-- The next entries from before the chain, of one tenant.
SELECT one.number, head.chained, one.tenant, one.id, one.at, one.action, one.subject, one.decision, one.rule, one.reason,
    one.actor, one.agent, one.session_id, one.run_id, one.details
FROM (SELECT tenant, chained FROM corral.audit_heads WHERE chained < number LIMIT 1) AS head
    JOIN corral.audit AS one ON one.tenant = head.tenant AND one.number > head.chained
ORDER BY one.number LIMIT $1;

-- name: seal
-- Take them into the chain.
SELECT corral.seal_audit($1::text, $2::bigint, $3::bigint[], $4::bytea[], $5::bytea[]);

-- name: old
-- The oldest entries of those tenants that have old ones, in order.
WITH oldest AS (SELECT tenant FROM corral.audit WHERE at < $1 ORDER BY at LIMIT $2),
    tenants AS (
        SELECT oldest.tenant, count(*) AS many,
            (SELECT min(one.number) FROM corral.audit AS one WHERE one.tenant = oldest.tenant) AS first
        FROM oldest GROUP BY oldest.tenant)
SELECT one.tenant, head.swept, one.number, one.at, one.hash
FROM tenants JOIN corral.audit AS one ON one.tenant = tenants.tenant AND one.number < tenants.first + tenants.many
    JOIN corral.audit_heads AS head ON head.tenant = tenants.tenant
ORDER BY one.tenant, one.number;

-- name: sweep
-- Let a tenant's oldest entries go, where the last of them is what is said, and keep what was said.
WITH head AS (
    UPDATE corral.audit_heads SET swept = $3, swept_hash = $4
    WHERE tenant = $1 AND swept < $3
        AND EXISTS (SELECT 1 FROM corral.audit WHERE tenant = $1 AND number = $3 AND hash = $4)
    RETURNING tenant
), stub AS (
    INSERT INTO corral.audit_checkpoints (tenant, kind, number, hash, at, algorithm, key_id, signature)
    SELECT tenant, $2::text, $3, $4, $5::double precision, $6::text, $7::text, $8::bytea FROM head ON CONFLICT DO NOTHING
), forgotten AS (
    DELETE FROM corral.audit_checkpoints WHERE tenant = (SELECT tenant FROM head) AND number < $3
), gone AS (
    DELETE FROM corral.audit WHERE tenant = (SELECT tenant FROM head) AND number <= $3 RETURNING 1
) SELECT count(*) FROM gone;

-- name: sweep_before
-- Let entries go that stand before the chain.
WITH gone AS (
    DELETE FROM corral.audit WHERE tenant = $1 AND number <= $2
        AND number <= (SELECT swept FROM corral.audit_heads WHERE tenant = $1) RETURNING 1
) SELECT count(*) FROM gone;

-- name: keep
-- Keep what a key said.
INSERT INTO corral.audit_checkpoints (tenant, kind, number, hash, at, algorithm, key_id, signature)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING 1;

-- name: checkpoints
-- What keys said, the lowest number first.
SELECT tenant, kind, number, hash, at, algorithm, key_id, signature FROM corral.audit_checkpoints
WHERE tenant = $1 AND number > $2 ORDER BY number, kind LIMIT $3;
