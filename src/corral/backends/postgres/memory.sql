-- name: namespaces
-- The namespaces that a view includes, those last changed first.
SELECT number, tenant, space, scope, owner, name, items, chunks, words, drops, updated_at FROM corral.memory_namespaces
WHERE space = $1 AND ($2::text IS NULL OR name = $2) AND ($3::text IS NULL OR starts_with(name, $3))
  AND ($4::text[] IS NULL OR scope = ANY ($4))
  AND ((tenant = $5 AND $5 <> '' AND ($6 OR audience = ANY ($7::text[]))) OR (tenant = '' AND $8))
ORDER BY updated_at DESC, number DESC LIMIT $9;

-- name: listed_namespaces
-- The same by name, those alone in which something is.
SELECT number, tenant, space, scope, owner, name, items, chunks, words, drops, updated_at FROM corral.memory_namespaces
WHERE space = $1 AND ($2::text IS NULL OR name = $2) AND ($3::text IS NULL OR starts_with(name, $3))
  AND ($4::text[] IS NULL OR scope = ANY ($4))
  AND ((tenant = $5 AND $5 <> '' AND ($6 OR audience = ANY ($7::text[]))) OR (tenant = '' AND $8))
  AND items > 0
ORDER BY name, audience LIMIT $9;

-- name: put
-- Keep drafts.
SELECT outcome, version, added, removed FROM corral.memory_put($1::jsonb, $2, $3, $4);

-- name: item
-- One item, where the view includes its namespace.
SELECT i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN coalesce((
        SELECT c.text FROM corral.memory_chunks AS c WHERE c.item = i.number ORDER BY c.ordinal LIMIT 1), '') ELSE '' END
FROM corral.memory_items AS i JOIN corral.memory_namespaces AS n ON n.number = i.namespace
WHERE i.tenant IN ($1, '') AND i.space = $2 AND i.id = $3 AND (i.expires_at IS NULL OR i.expires_at > corral.now())
  AND ((i.tenant = $1 AND $1 <> '' AND ($4 OR n.audience = ANY ($5::text[]))) OR (i.tenant = '' AND $6))
ORDER BY i.tenant DESC LIMIT 1;

-- name: listed
-- The latest items of each namespace, and of these the latest.
SELECT i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN coalesce((
        SELECT c.text FROM corral.memory_chunks AS c WHERE c.item = i.number ORDER BY c.ordinal LIMIT 1), '') ELSE '' END
FROM unnest($1::bigint[]) AS wanted (number) JOIN corral.memory_namespaces AS n ON n.number = wanted.number
CROSS JOIN LATERAL (
    SELECT * FROM corral.memory_items AS item
    WHERE item.namespace = n.number AND (item.expires_at IS NULL OR item.expires_at > corral.now())
      AND ($2::double precision IS NULL OR (item.updated_at, item.number) < ($2, $3::bigint))
      AND ($4::text[] IS NULL OR item.kind = ANY ($4))
      AND ($5::text IS NULL OR item.strategy = $5) AND ($6::text IS NULL OR item.source = $6)
    ORDER BY item.updated_at DESC, item.number DESC LIMIT $7
) AS i
ORDER BY i.updated_at DESC, i.number DESC LIMIT $7;

-- name: chunks
-- Chunks of an item, in order.
SELECT id, ordinal, text, place, start FROM corral.memory_chunks WHERE item = $1 AND ordinal >= $2 ORDER BY ordinal LIMIT $3;

-- name: delete
-- Forget items.
SELECT corral.memory_delete($1, $2, $3, $4, $5, $6, $7);

-- name: erase
-- Forget everything.
SELECT corral.memory_erase($1, $2, $3);

-- name: bare
-- Chunks without a vector of a model.
SELECT c.number, c.text FROM corral.memory_namespaces AS n JOIN corral.memory_items AS i ON i.namespace = n.number
JOIN corral.memory_chunks AS c ON c.item = i.number
WHERE n.tenant = $1 AND n.space = $2 AND ($3::text IS NULL OR i.id = $3)
  AND NOT EXISTS (SELECT 1 FROM corral.memory_vectors AS v WHERE v.chunk = c.number AND v.model = $4)
ORDER BY c.number LIMIT $5;

-- name: embed
-- The vectors of chunks that are still there.
WITH kept AS (
    INSERT INTO corral.memory_vectors (namespace, model, chunk, vector)
    SELECT c.namespace, $2, c.number, one.vector::real[]
    FROM unnest($3::bigint[], $4::text[]) AS one (chunk, vector)
    JOIN corral.memory_chunks AS c ON c.number = one.chunk
    JOIN corral.memory_namespaces AS n ON n.number = c.namespace
    WHERE n.tenant = $1
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM kept;

-- name: forget_vectors
-- Throw vectors away.
SELECT corral.memory_forget_vectors($1, $2);

-- name: sweep
-- Forget what has expired.
SELECT corral.memory_sweep($1);
