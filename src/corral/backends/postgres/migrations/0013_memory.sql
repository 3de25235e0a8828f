-- What is remembered. Who changes a tenant's space locks it first: what is counted of a namespace is what is in it.
CREATE TABLE corral.memory_namespaces (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    space      text COLLATE "C" NOT NULL,
    scope      text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    audience   text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    items      bigint           NOT NULL DEFAULT 0,
    chunks     bigint           NOT NULL DEFAULT 0,
    words      bigint           NOT NULL DEFAULT 0,
    drops      bigint           NOT NULL DEFAULT 0,
    updated_at double precision NOT NULL
) WITH (fillfactor = 50);
-- Four ids of full length would be too long for an entry.
CREATE UNIQUE INDEX memory_namespaces_by_name ON corral.memory_namespaces (tenant, space, audience, name);

CREATE TABLE corral.memory_items (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    space      text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    namespace  bigint           NOT NULL,
    kind       text             NOT NULL,
    title      text             NOT NULL,
    source     text             NOT NULL,
    metadata   text             NOT NULL,
    strategy   text             NOT NULL,
    events     text             NOT NULL,
    at         double precision NOT NULL,
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    expires_at double precision,
    version    bigint           NOT NULL,
    chunks     bigint           NOT NULL,
    digest     text             NOT NULL,
    UNIQUE (tenant, space, id)
);
CREATE INDEX memory_items_by_change ON corral.memory_items (namespace, updated_at, number);
CREATE INDEX memory_items_by_expiry ON corral.memory_items (expires_at) WHERE expires_at IS NOT NULL;

-- The words of a chunk stand behind the number of its namespace: what one audience wrote weighs nothing in another's search.
CREATE TABLE corral.memory_chunks (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace bigint           NOT NULL,
    item      bigint           NOT NULL REFERENCES corral.memory_items (number) ON DELETE CASCADE,
    ordinal   bigint           NOT NULL,
    words     integer          NOT NULL,
    start     bigint           NOT NULL,
    id        text COLLATE "C" NOT NULL,
    place     text             NOT NULL,
    text      text             NOT NULL,
    terms     tsvector         NOT NULL
);
CREATE INDEX memory_chunks_by_place ON corral.memory_chunks (item, ordinal);
CREATE INDEX memory_chunks_by_word ON corral.memory_chunks USING gin (terms) WITH (fastupdate = off);

-- Numbers, so that the extension `vector` can compare them where it is installed.
CREATE TABLE corral.memory_vectors (
    serial    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace bigint           NOT NULL,
    model     text COLLATE "C" NOT NULL,
    chunk     bigint           NOT NULL REFERENCES corral.memory_chunks (number) ON DELETE CASCADE,
    vector    real[]           NOT NULL,
    UNIQUE (chunk, model)
);
CREATE INDEX memory_vectors_by_namespace ON corral.memory_vectors (namespace, model, serial);

-- Where somebody writes, nobody else does.
CREATE FUNCTION corral.memory_lock(p_tenant text, p_space text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('memory ' || p_tenant || ' ' || p_space, 0));
$$;

-- Forget items, and count them out.
CREATE FUNCTION corral.memory_drop(p_items bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_gone bigint;
BEGIN
    UPDATE corral.memory_namespaces AS space
    SET items = space.items - gone.items, chunks = space.chunks - gone.chunks, words = space.words - gone.words,
        drops = space.drops + 1
    FROM (
        SELECT item.namespace, count(*) AS items, coalesce(sum(held.chunks), 0) AS chunks, coalesce(sum(held.words), 0) AS words
        FROM corral.memory_items AS item
        LEFT JOIN LATERAL (
            SELECT count(*) AS chunks, sum(chunk.words) AS words FROM corral.memory_chunks AS chunk WHERE chunk.item = item.number
        ) AS held ON true
        WHERE item.number = ANY (p_items) GROUP BY item.namespace
    ) AS gone
    WHERE space.number = gone.namespace;
    DELETE FROM corral.memory_items WHERE number = ANY (p_items);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

-- Add chunks to an item, and count them in.
CREATE FUNCTION corral.memory_add(p_namespace bigint, p_item bigint, p_first bigint, p_chunks jsonb) RETURNS void
LANGUAGE sql AS $$
    WITH added AS (
        INSERT INTO corral.memory_chunks (namespace, item, ordinal, words, start, id, place, text, terms)
        SELECT p_namespace, p_item, p_first + (one ->> 'ordinal')::bigint, (one ->> 'words')::integer, (one ->> 'start')::bigint,
            one ->> 'id', one ->> 'place', one ->> 'text',
            array_to_tsvector(ARRAY(SELECT p_namespace || term FROM jsonb_array_elements_text(one -> 'terms') AS term))
        FROM jsonb_array_elements(p_chunks) AS one
        ORDER BY (one ->> 'ordinal')::bigint
        RETURNING words
    )
    UPDATE corral.memory_namespaces AS space SET chunks = space.chunks + total.chunks, words = space.words + total.words
    FROM (SELECT count(*) AS chunks, coalesce(sum(added.words), 0) AS words FROM added) AS total
    WHERE space.number = p_namespace;
$$;

-- The number of a namespace, which is made when it is new.
CREATE FUNCTION corral.memory_use(p_tenant text, p_draft jsonb, p_now double precision) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO corral.memory_namespaces AS known (tenant, space, scope, owner, audience, name, updated_at)
    VALUES (p_tenant, p_draft ->> 'space', p_draft ->> 'scope', p_draft ->> 'owner', p_draft ->> 'audience', p_draft ->> 'name', p_now)
    ON CONFLICT (tenant, space, audience, name) DO UPDATE SET updated_at = greatest(known.updated_at, excluded.updated_at)
    RETURNING number;
$$;

-- Keep one draft in the place of what has its id; `p_append`: add its chunks at the end of its log.
CREATE FUNCTION corral.memory_put_one(
    p_tenant text, p_draft jsonb, p_audiences text[], p_whole boolean, p_append boolean,
    OUT o_outcome text, OUT o_version bigint, OUT o_added bigint, OUT o_removed bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_now     double precision := corral.now();
    v_known   corral.memory_items%ROWTYPE;
    v_home    corral.memory_namespaces%ROWTYPE;
    v_place   bigint;
    v_life    double precision := v_now + (p_draft ->> 'ttl_s')::double precision;
    v_wanted  bigint := (p_draft ->> 'version')::bigint;
    v_count   bigint := jsonb_array_length(p_draft -> 'chunks');
    v_staying bigint[];
    v_new     jsonb;
    v_gone    bigint;
    v_words   bigint;
BEGIN
    SELECT * INTO v_known FROM corral.memory_items
    WHERE tenant = p_tenant AND space = p_draft ->> 'space' AND id = p_draft ->> 'id';
    IF v_known.expires_at <= v_now THEN
        PERFORM corral.memory_drop(ARRAY[v_known.number]);
        v_known := NULL;
    END IF;
    IF v_wanted IS NOT NULL AND v_wanted <> coalesce(v_known.version, 0) THEN
        RAISE EXCEPTION '% has version %, not %: read it again.', p_draft ->> 'id', coalesce(v_known.version, 0), v_wanted
            USING ERRCODE = 'CR409';
    END IF;
    IF v_known.number IS NOT NULL THEN
        SELECT * INTO v_home FROM corral.memory_namespaces WHERE number = v_known.namespace;
        IF NOT (p_whole OR p_tenant = '' OR v_home.audience = ANY (p_audiences)) THEN
            RAISE EXCEPTION '' USING ERRCODE = 'CR409';
        END IF;
    END IF;
    v_place := corral.memory_use(p_tenant, p_draft, v_now);
    o_removed := 0;
    IF v_known.number IS NULL THEN
        INSERT INTO corral.memory_items (tenant, space, id, namespace, kind, title, source, metadata, strategy, events, at,
            created_at, updated_at, expires_at, version, chunks, digest)
        VALUES (p_tenant, p_draft ->> 'space', p_draft ->> 'id', v_place, p_draft ->> 'kind', p_draft ->> 'title',
            p_draft ->> 'source', p_draft ->> 'metadata', p_draft ->> 'strategy', p_draft ->> 'events',
            coalesce((p_draft ->> 'at')::double precision, v_now), v_now, v_now, v_life, 1, v_count, p_draft ->> 'digest')
        RETURNING number INTO v_known.number;
        UPDATE corral.memory_namespaces SET items = items + 1 WHERE number = v_place;
        PERFORM corral.memory_add(v_place, v_known.number, 0, p_draft -> 'chunks');
        o_outcome := 'new'; o_version := 1; o_added := v_count;
        RETURN;
    END IF;
    IF p_append THEN
        IF v_known.kind <> 'log' OR v_known.namespace <> v_place THEN
            RAISE EXCEPTION '% is no log in this namespace.', p_draft ->> 'id' USING ERRCODE = 'CR409';
        END IF;
        SELECT coalesce(max(ordinal) + 1, 0) INTO v_gone FROM corral.memory_chunks WHERE item = v_known.number;
        PERFORM corral.memory_add(v_place, v_known.number, v_gone, p_draft -> 'chunks');
        UPDATE corral.memory_items SET chunks = chunks + v_count, version = version + 1,
            updated_at = greatest(updated_at, v_now), expires_at = coalesce(v_life, expires_at)
        WHERE number = v_known.number RETURNING version INTO o_version;
        o_outcome := 'changed'; o_added := v_count;
        RETURN;
    END IF;
    IF p_draft ->> 'digest' <> '' AND p_draft ->> 'digest' = v_known.digest AND v_known.namespace = v_place THEN
        UPDATE corral.memory_items SET expires_at = v_life WHERE number = v_known.number AND v_life IS NOT NULL;
        o_outcome := 'same'; o_version := v_known.version; o_added := 0;
        RETURN;
    END IF;
    -- Chunks that are called the same stay, one for one.
    WITH old AS (
        SELECT number, id, row_number() OVER (PARTITION BY id ORDER BY ordinal) AS nth FROM corral.memory_chunks
        WHERE item = v_known.number AND namespace = v_place
    ), wanted AS (
        SELECT one, one ->> 'id' AS id, row_number() OVER (PARTITION BY one ->> 'id' ORDER BY (one ->> 'ordinal')::bigint) AS nth
        FROM jsonb_array_elements(p_draft -> 'chunks') AS one
    ), kept AS (
        UPDATE corral.memory_chunks AS chunk SET ordinal = (wanted.one ->> 'ordinal')::bigint, start = (wanted.one ->> 'start')::bigint
        FROM old JOIN wanted ON wanted.id = old.id AND wanted.nth = old.nth
        WHERE chunk.number = old.number
        RETURNING chunk.number
    )
    SELECT coalesce((SELECT array_agg(number) FROM kept), '{}'),
        coalesce((SELECT jsonb_agg(wanted.one) FROM wanted
            WHERE NOT EXISTS (SELECT 1 FROM old WHERE old.id = wanted.id AND old.nth = wanted.nth)), '[]')
    INTO v_staying, v_new;
    WITH gone AS (
        DELETE FROM corral.memory_chunks WHERE item = v_known.number AND number <> ALL (v_staying) RETURNING words
    )
    SELECT count(*), coalesce(sum(words), 0) INTO v_gone, v_words FROM gone;
    UPDATE corral.memory_namespaces SET chunks = chunks - v_gone, words = words - v_words, items = items - 1,
        drops = drops + (v_gone > 0)::integer
    WHERE number = v_known.namespace;
    UPDATE corral.memory_namespaces SET items = items + 1 WHERE number = v_place;
    PERFORM corral.memory_add(v_place, v_known.number, 0, v_new);
    UPDATE corral.memory_items SET namespace = v_place, kind = p_draft ->> 'kind', title = p_draft ->> 'title',
        source = p_draft ->> 'source', metadata = p_draft ->> 'metadata', strategy = p_draft ->> 'strategy',
        events = p_draft ->> 'events', at = coalesce((p_draft ->> 'at')::double precision, at),
        updated_at = greatest(updated_at, v_now), expires_at = v_life, version = version + 1, chunks = v_count,
        digest = p_draft ->> 'digest'
    WHERE number = v_known.number RETURNING version INTO o_version;
    o_outcome := 'changed'; o_added := jsonb_array_length(v_new); o_removed := v_gone;
END $$;

-- Keep all drafts or none.
CREATE FUNCTION corral.memory_put(p_drafts jsonb, p_audiences text[], p_whole boolean, p_append boolean)
RETURNS TABLE (outcome text, version bigint, added bigint, removed bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_draft  jsonb;
    v_tenant text;
    v_space  text;
BEGIN
    FOR v_tenant, v_space IN
        SELECT DISTINCT one ->> 'tenant', one ->> 'space' FROM jsonb_array_elements(p_drafts) AS one ORDER BY 1, 2
    LOOP
        PERFORM corral.memory_lock(v_tenant, v_space);
    END LOOP;
    FOR v_draft IN SELECT one FROM jsonb_array_elements(p_drafts) WITH ORDINALITY AS every (one, at) ORDER BY at LOOP
        RETURN QUERY SELECT * FROM corral.memory_put_one(v_draft ->> 'tenant', v_draft, p_audiences, p_whole, p_append);
    END LOOP;
END $$;

-- Forget items that the view may write.
CREATE FUNCTION corral.memory_delete(
    p_tenant text, p_space text, p_ids text[], p_audiences text[], p_whole boolean, p_public boolean, p_publishes boolean
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_numbers bigint[];
    v_ids     text[];
BEGIN
    IF p_publishes THEN
        PERFORM corral.memory_lock('', p_space);
    END IF;
    PERFORM corral.memory_lock(p_tenant, p_space);
    SELECT array_agg(chosen.number), array_agg(chosen.id) INTO v_numbers, v_ids FROM (
        SELECT DISTINCT ON (item.id) item.number, item.id, item.tenant
        FROM corral.memory_items AS item JOIN corral.memory_namespaces AS home ON home.number = item.namespace
        WHERE item.tenant IN (p_tenant, '') AND item.space = p_space AND item.id = ANY (p_ids)
          AND (item.expires_at IS NULL OR item.expires_at > corral.now())
          AND ((item.tenant = p_tenant AND p_tenant <> '' AND (p_whole OR home.audience = ANY (p_audiences)))
            OR (item.tenant = '' AND p_public))
        ORDER BY item.id, item.tenant DESC
    ) AS chosen
    WHERE chosen.tenant <> '' OR p_publishes;
    PERFORM corral.memory_drop(coalesce(v_numbers, '{}'));
    RETURN coalesce(v_ids, '{}');
END $$;

-- Forget everything of a tenant, an audience or a space.
CREATE FUNCTION corral.memory_erase(p_tenant text, p_audience text, p_space text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_space text;
    v_gone  bigint;
BEGIN
    FOR v_space IN
        SELECT DISTINCT space FROM corral.memory_namespaces WHERE tenant = p_tenant AND (p_space IS NULL OR space = p_space) ORDER BY 1
    LOOP
        PERFORM corral.memory_lock(p_tenant, v_space);
    END LOOP;
    v_gone := corral.memory_drop(ARRAY(
        SELECT item.number FROM corral.memory_items AS item JOIN corral.memory_namespaces AS home ON home.number = item.namespace
        WHERE home.tenant = p_tenant AND (p_audience IS NULL OR home.audience = p_audience) AND (p_space IS NULL OR home.space = p_space)));
    DELETE FROM corral.memory_namespaces
    WHERE tenant = p_tenant AND (p_audience IS NULL OR audience = p_audience) AND (p_space IS NULL OR space = p_space) AND items = 0;
    RETURN v_gone;
END $$;

-- Items past their time, space by space; where somebody else writes now, later.
CREATE FUNCTION corral.memory_sweep(p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_tenant  text;
    v_space   text;
    v_numbers bigint[];
    v_gone    bigint := 0;
BEGIN
    FOR v_tenant, v_space, v_numbers IN
        SELECT tenant, space, array_agg(number) FROM (
            SELECT tenant, space, number FROM corral.memory_items WHERE expires_at <= corral.now() ORDER BY expires_at LIMIT p_limit
        ) AS past GROUP BY tenant, space ORDER BY tenant, space
    LOOP
        IF pg_try_advisory_xact_lock(hashtextextended('memory ' || v_tenant || ' ' || v_space, 0)) THEN
            v_gone := v_gone + corral.memory_drop(ARRAY(
                SELECT number FROM corral.memory_items WHERE number = ANY (v_numbers) AND expires_at <= corral.now()));
        END IF;
    END LOOP;
    RETURN v_gone;
END $$;

-- Throw away a tenant's vectors of all models but one.
CREATE FUNCTION corral.memory_forget_vectors(p_tenant text, p_keep text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_gone bigint;
BEGIN
    DELETE FROM corral.memory_vectors WHERE (p_keep IS NULL OR model <> p_keep)
      AND namespace IN (SELECT number FROM corral.memory_namespaces WHERE tenant = p_tenant);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    UPDATE corral.memory_namespaces SET drops = drops + 1 WHERE tenant = p_tenant;
    RETURN v_gone;
END $$;

-- The vectors most alike, by the extension `vector`; with a length, so that an index on that expression can serve.
CREATE FUNCTION corral.memory_nearest(p_namespaces bigint[], p_model text, p_vector real[], p_limit bigint)
RETURNS TABLE (chunk bigint, score double precision) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT chunk, -(vector::vector(%1$s) <#> $3::vector(%1$s)) FROM corral.memory_vectors '
        'WHERE namespace = ANY ($1) AND model = $2 AND array_length(vector, 1) = %1$s '
        'ORDER BY vector::vector(%1$s) <#> $3::vector(%1$s) LIMIT $4', array_length(p_vector, 1))
    USING p_namespaces, p_model, p_vector, p_limit;
END $$;
