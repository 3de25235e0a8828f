-- name: write
-- Keep entries, each once.
INSERT INTO corral.ledger (
    id, at, tenant, agent, session_id, run_id, tags, provider, model, input, cache_read, cache_write, output, reasoning,
    estimated, cost_usd, cached, duration_s, first_s, outcome, prices)
SELECT id, at, tenant, agent, session_id, run_id, tags::jsonb, provider, model, input, cache_read, cache_write, output,
    reasoning, estimated, cost_usd, cached, duration_s, first_s, outcome, prices
FROM unnest(
    $1::text[], $2::double precision[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::boolean[], $16::double precision[],
    $17::text[], $18::double precision[], $19::double precision[], $20::text[], $21::text[])
AS entry(id, at, tenant, agent, session_id, run_id, tags, provider, model, input, cache_read, cache_write, output,
    reasoning, estimated, cost_usd, cached, duration_s, first_s, outcome, prices)
ON CONFLICT DO NOTHING;

-- name: entries
-- A tenant's entries, newest first.
SELECT id, at, tenant, agent, session_id, run_id, tags::text, provider, model, input, cache_read, cache_write, output,
    reasoning, estimated, cost_usd, cached, duration_s, first_s, outcome, prices
FROM corral.ledger WHERE tenant = $1 AND at >= $2 ORDER BY at DESC, id DESC LIMIT $3;

-- name: spend
-- A tenant's entries of some time, added up by one thing.
SELECT * FROM (
    SELECT
        CASE $4::text
            WHEN 'model' THEN model WHEN 'provider' THEN provider WHEN 'agent' THEN agent WHEN 'session' THEN session_id
            WHEN 'run' THEN run_id WHEN 'outcome' THEN outcome WHEN 'tag' THEN tags ->> $5
            WHEN 'day' THEN to_char(to_timestamp(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD')
        END AS thing,
        count(*) AS calls, coalesce(sum(cost_usd), 0.0) AS cost,
        count(*) FILTER (WHERE cost_usd IS NULL AND input + cache_read + cache_write + output + reasoning > 0),
        count(*) FILTER (WHERE cached <> ''), sum(input), sum(cache_read), sum(cache_write), sum(output),
        sum(reasoning), bool_or(estimated)
    FROM corral.ledger WHERE tenant = $1 AND at >= $2 AND at < $3 GROUP BY 1
) AS line
ORDER BY CASE $4 WHEN 'day' THEN thing END DESC, cost DESC, calls DESC, thing COLLATE "C" NULLS FIRST LIMIT $6;

-- name: forget
-- Remove what is older, a day or some rows at a time, without keeping anybody waiting for long.
SELECT corral.forget_ledger($1, $2) FROM set_config('lock_timeout', '1s', true);

-- name: missing_ledger_days
-- How many days of the coming week have no partition.
SELECT corral.missing_ledger_days($1);

-- name: make_ledger_days
-- Make the partitions of the coming week, without keeping anybody waiting for long.
SELECT corral.make_ledger_days($1) FROM set_config('lock_timeout', '1s', true);
