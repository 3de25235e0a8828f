-- name: write
-- Keep an entry, once.
INSERT INTO ledger (
    id, at, tenant, agent, session_id, run_id, tags, provider, model, input, cache_read, cache_write, output, reasoning,
    estimated, cost_usd, cached, duration_s, first_s, outcome, prices
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: entries
-- A tenant's entries, newest first.
SELECT id, at, tenant, agent, session_id, run_id, tags, provider, model, input, cache_read, cache_write, output, reasoning,
    estimated, cost_usd, cached, duration_s, first_s, outcome, prices
FROM ledger INDEXED BY ledger_by_tenant WHERE tenant = ?1 AND at >= ?2 ORDER BY at DESC, number DESC LIMIT ?3;

-- name: spend
-- A tenant's entries of some time, added up by one thing.
SELECT
    CASE :by
        WHEN 'model' THEN model WHEN 'provider' THEN provider WHEN 'agent' THEN agent WHEN 'session' THEN session_id
        WHEN 'run' THEN run_id WHEN 'outcome' THEN outcome WHEN 'day' THEN date(at, 'unixepoch')
        WHEN 'tag' THEN (SELECT value FROM json_each(tags) WHERE json_each.key = :tag)
    END AS thing,
    count(*), total(cost_usd), sum(cost_usd IS NULL AND input + cache_read + cache_write + output + reasoning > 0),
    sum(cached <> ''), sum(input), sum(cache_read), sum(cache_write), sum(output), sum(reasoning), max(estimated)
FROM ledger INDEXED BY ledger_by_tenant
WHERE tenant = :tenant AND at >= :since AND at < :until
GROUP BY 1
ORDER BY CASE :by WHEN 'day' THEN thing END DESC, 3 DESC, 2 DESC, thing LIMIT :limit;

-- name: forget
-- Remove the oldest entries.
DELETE FROM ledger WHERE number IN (SELECT number FROM ledger WHERE at < ?1 ORDER BY at LIMIT ?2);
