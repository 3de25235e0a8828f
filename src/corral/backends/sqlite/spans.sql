-- name: write
-- Keep one span, once.
INSERT INTO spans (tenant, trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: trace
-- All spans of a trace, in order of start.
SELECT trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes
FROM spans WHERE tenant = :tenant AND trace_id = :trace_id ORDER BY started_at, span_id;

-- name: recent
-- The latest spans whose parent is not here, newest first.
SELECT trace_id, span_id, parent_id, started_at, duration_s, name, kind, status, attributes
FROM spans AS span
WHERE tenant = :tenant AND NOT EXISTS (
    SELECT 1 FROM spans AS parent
    WHERE parent.tenant = span.tenant AND parent.trace_id = span.trace_id AND parent.span_id = span.parent_id
)
ORDER BY started_at DESC, span_id DESC LIMIT :limit;

-- name: expire
-- Sweep the oldest spans.
DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans WHERE started_at < :before ORDER BY started_at LIMIT :limit);
