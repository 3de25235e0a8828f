-- name: counts
-- In how many chunks words stand.
SELECT term, doc FROM memory_word_counts WHERE term IN (SELECT value FROM json_each(?1));

-- name: matching
-- The chunks that match, the newest ones, as one list.
SELECT json_group_array(number) FROM (
    SELECT rowid AS number FROM memory_words WHERE memory_words MATCH ?1 ORDER BY rowid DESC LIMIT ?2);

-- name: places
-- Where chunks stand and how long they are, those of items that are still there and that are meant.
SELECT c.number, c.item, c.ordinal, c.words, i.metadata FROM json_each(:numbers) AS one
JOIN memory_chunks AS c ON c.number = one.value
JOIN memory_items AS i ON i.number = c.item
WHERE (i.expires_at IS NULL OR i.expires_at > :now)
  AND c.namespace IN (SELECT value FROM json_each(:namespaces))
  AND (:kinds IS NULL OR i.kind IN (SELECT value FROM json_each(:kinds)))
  AND (:strategy IS NULL OR i.strategy = :strategy) AND (:source IS NULL OR i.source = :source);

-- name: places_alone
-- Where chunks stand and how long they are, of items that are still there; nothing more is asked for.
SELECT c.number, c.item, c.ordinal, c.words, NULL FROM json_each(:numbers) AS one
JOIN memory_chunks AS c ON c.number = one.value
WHERE c.namespace IN (SELECT value FROM json_each(:namespaces))
  AND NOT EXISTS (SELECT 1 FROM memory_items AS i WHERE i.number = c.item AND i.expires_at <= :now);

-- name: around
-- The chunks at these places.
SELECT c.number, c.item, c.ordinal FROM json_each(:places) AS one
JOIN memory_chunks AS c ON c.item = json_extract(one.value, '$[0]') AND c.ordinal = json_extract(one.value, '$[1]')
JOIN memory_namespaces AS n ON n.number = c.namespace
JOIN memory_items AS i ON i.number = c.item
WHERE (i.expires_at IS NULL OR i.expires_at > :now)
  AND ((n.tenant = :tenant AND :tenant <> '' AND (:whole OR n.audience IN (SELECT value FROM json_each(:audiences))))
    OR (n.tenant = '' AND :public));

-- name: open
-- Chunks in full.
SELECT c.number, t.id, c.ordinal, t.text, t.place, t.start,
    i.number, i.tenant, i.space, n.scope, n.owner, n.name, i.id, i.kind, i.title, i.source, i.metadata, i.strategy,
    i.events, i.at, i.created_at, i.updated_at, i.expires_at, i.version, i.chunks, i.digest,
    CASE i.kind WHEN 'record' THEN t.text ELSE '' END
FROM json_each(:numbers) AS one
JOIN memory_chunks AS c ON c.number = one.value
JOIN memory_texts AS t ON t.chunk = c.number
JOIN memory_items AS i ON i.number = c.item
JOIN memory_namespaces AS n ON n.number = i.namespace
WHERE (i.expires_at IS NULL OR i.expires_at > :now)
  AND ((n.tenant = :tenant AND :tenant <> '' AND (:whole OR n.audience IN (SELECT value FROM json_each(:audiences))))
    OR (n.tenant = '' AND :public))
ORDER BY one.id;

-- name: vectors
-- Vectors of a namespace that came after the last ones.
SELECT serial, chunk, vector FROM memory_vectors WHERE namespace = ?1 AND model = ?2 AND serial > ?3 ORDER BY serial LIMIT ?4;
