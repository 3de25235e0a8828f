-- name: write
-- Keep spans, each once.
INSERT INTO corral.spans
    (tenant, trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::double precision[], $6::double precision[],
    $7::text[], $8::text[], $9::text[], $10::bytea[])
ON CONFLICT DO NOTHING;

-- name: trace
-- All spans of a trace, in order of start.
SELECT trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes
FROM corral.spans WHERE tenant = $1 AND trace_id = $2 ORDER BY started_at, span_id;

-- name: recent
-- The latest spans whose parent is not here, newest first.
SELECT trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes
FROM corral.spans AS span
WHERE tenant = $1 AND NOT EXISTS (
    SELECT 1 FROM corral.spans AS parent
    WHERE parent.tenant = span.tenant AND parent.trace_id = span.trace_id AND parent.span_id = span.parent_id
)
ORDER BY started_at DESC, span_id DESC LIMIT $2;

-- name: expire
-- Sweep the oldest spans; other sweepers take other spans.
WITH gone AS (
    DELETE FROM corral.spans WHERE (tenant, trace_id, span_id) IN (
        SELECT tenant, trace_id, span_id FROM corral.spans WHERE started_at < $1
        ORDER BY started_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone;
