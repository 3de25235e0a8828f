-- name: counts
-- In how many chunks words stand; of common ones it is enough to know that they are.
SELECT one.token, held.chunks FROM unnest($1::text[]) AS one (token)
CROSS JOIN LATERAL (
    SELECT count(*) AS chunks FROM (
        SELECT 1 FROM corral.memory_chunks AS c WHERE c.terms @@ quote_literal(one.token)::tsquery LIMIT $2) AS counted
) AS held
WHERE held.chunks > 0;

-- name: matching
-- The chunks that match, a list for each question.
SELECT held.numbers FROM unnest($1::text[]) WITH ORDINALITY AS asked (query, at)
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(found.number), '{}') AS numbers FROM (
        SELECT c.number FROM corral.memory_chunks AS c WHERE c.terms @@ asked.query::tsquery LIMIT $2) AS found
) AS held
ORDER BY asked.at;

-- name: places
-- Where chunks stand and how long they are, those of items that are still there and that are meant.
SELECT c.number, c.item, c.ordinal, c.words, i.metadata FROM corral.memory_chunks AS c
JOIN corral.memory_items AS i ON i.number = c.item
WHERE c.number = ANY ($1::bigint[]) AND c.namespace = ANY ($2::bigint[])
  AND (i.expires_at IS NULL OR i.expires_at > corral.now())
  AND ($3::text[] IS NULL OR i.kind = ANY ($3))
  AND ($4::text IS NULL OR i.strategy = $4) AND ($5::text IS NULL OR i.source = $5);

-- name: around
-- The chunks at these places.
SELECT c.number, c.item, c.ordinal FROM unnest($1::bigint[], $2::bigint[]) AS one (item, ordinal)
JOIN corral.memory_chunks AS c ON c.item = one.item AND c.ordinal = one.ordinal
JOIN corral.memory_namespaces AS n ON n.number = c.namespace
JOIN corral.memory_items AS i ON i.number = c.item
WHERE (i.expires_at IS NULL OR i.expires_at > corral.now())
  AND ((n.tenant = $3 AND $3 <> '' AND ($4 OR n.audience = ANY ($5::text[]))) OR (n.tenant = '' AND $6));

-- name: open
-- Chunks in full.
SELECT c.number, c.id, c.ordinal, c.text, c.place, c.start,
    i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN c.text ELSE '' END
FROM unnest($1::bigint[]) WITH ORDINALITY AS one (number, at)
JOIN corral.memory_chunks AS c ON c.number = one.number
JOIN corral.memory_items AS i ON i.number = c.item
JOIN corral.memory_namespaces AS n ON n.number = i.namespace
WHERE (i.expires_at IS NULL OR i.expires_at > corral.now())
  AND ((n.tenant = $2 AND $2 <> '' AND ($3 OR n.audience = ANY ($4::text[]))) OR (n.tenant = '' AND $5))
ORDER BY one.at;

-- name: compares_vectors
-- Whether the extension is installed that does.
SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'vector');

-- name: nearest
-- The vectors that are most alike.
SELECT chunk, score FROM corral.memory_nearest($1, $2, $3::text::real[], $4);

-- name: vector_count
-- How many vectors a namespace has.
SELECT count(*) FROM corral.memory_vectors WHERE namespace = $1 AND model = $2;

-- name: vectors
-- Vectors of a namespace that came after the last ones.
SELECT serial, chunk, vector FROM corral.memory_vectors WHERE namespace = $1 AND model = $2 AND serial > $3 ORDER BY serial LIMIT $4;
