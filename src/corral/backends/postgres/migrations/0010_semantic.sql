-- Answers that are found by meaning. They may be lost in a crash of the server; evidence about them may not.
CREATE UNLOGGED TABLE corral.semantic_answers (
    tenant     text COLLATE "C" NOT NULL,
    id         bytea            NOT NULL,
    scope      bytea            NOT NULL,
    change     bigint           NOT NULL,
    question   text             NOT NULL,
    wrong      double precision NOT NULL,
    created_at double precision NOT NULL,
    expires_at double precision NOT NULL,
    used_at    double precision NOT NULL,
    tags       text[] COLLATE "C",
    vector     bytea            NOT NULL,
    value      bytea            NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 90);
CREATE INDEX semantic_answers_by_change ON corral.semantic_answers (tenant, scope, change);
CREATE INDEX semantic_answers_by_use ON corral.semantic_answers (tenant, scope, used_at);
CREATE INDEX semantic_answers_by_expiry ON corral.semantic_answers (expires_at);
CREATE INDEX semantic_answers_by_tag ON corral.semantic_answers USING gin (tags) WHERE tags IS NOT NULL;

-- Grows with every change in a scope.
CREATE TABLE corral.semantic_scopes (
    tenant text COLLATE "C" NOT NULL,
    scope  bytea            NOT NULL,
    change bigint           NOT NULL,
    PRIMARY KEY (tenant, scope)
) WITH (fillfactor = 50);

-- Grows with every clearing.
CREATE TABLE corral.semantic_generations (
    tenant     text COLLATE "C" PRIMARY KEY,
    generation bigint           NOT NULL
);

CREATE TABLE corral.semantic_routes (
    tenant    text COLLATE "C" NOT NULL,
    route     bytea            NOT NULL,
    model     text             NOT NULL,
    embedder  text             NOT NULL,
    hits      bigint           NOT NULL DEFAULT 0,
    misses    bigint           NOT NULL DEFAULT 0,
    saved_usd double precision NOT NULL DEFAULT 0,
    since     double precision NOT NULL DEFAULT 0,
    reason    text             NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, route)
) WITH (fillfactor = 50);

-- Kept answers that were compared with new ones.
CREATE TABLE corral.semantic_labels (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant   text COLLATE "C" NOT NULL,
    route    bytea            NOT NULL,
    at       double precision NOT NULL,
    score    double precision NOT NULL,
    step     integer          NOT NULL,
    same     boolean          NOT NULL,
    audited  boolean          NOT NULL,
    question text             NOT NULL,
    kept     text             NOT NULL
);
CREATE INDEX semantic_labels_by_route ON corral.semantic_labels (tenant, route, number) INCLUDE (at, step, same, audited);
CREATE INDEX semantic_labels_that_were_wrong ON corral.semantic_labels (tenant, number) WHERE NOT same;

-- Keep answers if the tenant was not cleared meanwhile. The row of a scope is locked first: its changes are seen in order.
CREATE FUNCTION corral.semantic_put(
    p_tenant text, p_entries_max bigint, p_ids bytea[], p_scopes bytea[], p_questions text[], p_vectors bytea[],
    p_values bytea[], p_ttls double precision[], p_tags text[], p_generations bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_now        double precision;
    v_generation bigint;
    v_scope      bytea;
    v_count      bigint;
    v_change     bigint;
    v_kept       bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('semantic ' || p_tenant, 0));
    SELECT coalesce(max(generation), 0) INTO v_generation FROM corral.semantic_generations WHERE tenant = p_tenant;
    FOR v_scope, v_count IN
        SELECT one.scope, count(*) FROM unnest(p_scopes, p_generations) AS one (scope, generation)
        WHERE one.generation IS NULL OR one.generation = v_generation
        GROUP BY one.scope ORDER BY one.scope
    LOOP
        INSERT INTO corral.semantic_scopes AS known (tenant, scope, change) VALUES (p_tenant, v_scope, v_count)
        ON CONFLICT (tenant, scope) DO UPDATE SET change = known.change + v_count
        RETURNING change INTO v_change;
        v_now := corral.now();
        INSERT INTO corral.semantic_answers AS answer
            (tenant, id, scope, change, question, wrong, created_at, expires_at, used_at, tags, vector, value)
        SELECT p_tenant, one.id, one.scope, v_change - row_number() OVER () + 1, one.question, 0, v_now, v_now + one.ttl, v_now,
            CASE one.tags WHEN '' THEN NULL ELSE ARRAY(SELECT json_array_elements_text(one.tags::json)) END, one.vector, one.value
        FROM unnest(p_ids, p_scopes, p_questions, p_vectors, p_values, p_ttls, p_tags, p_generations)
            AS one (id, scope, question, vector, value, ttl, tags, generation)
        WHERE one.scope = v_scope AND (one.generation IS NULL OR one.generation = v_generation)
        ON CONFLICT (tenant, id) DO UPDATE SET
            scope = excluded.scope, change = excluded.change, question = excluded.question, wrong = 0,
            created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = excluded.used_at,
            tags = excluded.tags, vector = excluded.vector, value = excluded.value;
        v_kept := v_kept + v_count;
        SELECT count(*) INTO v_count FROM corral.semantic_answers WHERE tenant = p_tenant AND scope = v_scope;
        IF v_count > p_entries_max THEN
            DELETE FROM corral.semantic_answers WHERE tenant = p_tenant AND id IN (
                SELECT id FROM corral.semantic_answers WHERE tenant = p_tenant AND scope = v_scope
                ORDER BY used_at, change LIMIT v_count - p_entries_max);
        END IF;
    END LOOP;
    RETURN v_kept;
END $$;

-- Add evidence. The scope of an answer that was wrong is locked before the answer is, as those who put do.
CREATE FUNCTION corral.semantic_label(
    p_tenant text, p_route bytea, p_model text, p_embedder text, p_answers bytea[], p_scores double precision[],
    p_steps integer[], p_same boolean[], p_audited boolean[], p_questions text[], p_kept text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_answer bytea;
    v_score  double precision;
    v_scope  bytea;
    v_change bigint;
BEGIN
    INSERT INTO corral.semantic_routes (tenant, route, model, embedder) VALUES (p_tenant, p_route, p_model, p_embedder)
    ON CONFLICT DO NOTHING;
    INSERT INTO corral.semantic_labels (tenant, route, at, score, step, same, audited, question, kept)
    SELECT p_tenant, p_route, corral.now(), one.score, one.step, one.same, one.audited, one.question, one.kept
    FROM unnest(p_scores, p_steps, p_same, p_audited, p_questions, p_kept)
        AS one (score, step, same, audited, question, kept);
    FOR v_answer, v_score, v_scope IN
        SELECT one.answer, max(one.score), known.scope
        FROM unnest(p_answers, p_scores, p_same) AS one (answer, score, same)
        JOIN corral.semantic_answers AS known ON known.tenant = p_tenant AND known.id = one.answer
        WHERE NOT one.same AND known.wrong < one.score
        GROUP BY one.answer, known.scope ORDER BY known.scope, one.answer
    LOOP
        INSERT INTO corral.semantic_scopes AS known (tenant, scope, change) VALUES (p_tenant, v_scope, 1)
        ON CONFLICT (tenant, scope) DO UPDATE SET change = known.change + 1
        RETURNING change INTO v_change;
        UPDATE corral.semantic_answers SET wrong = greatest(wrong, v_score), change = v_change
        WHERE tenant = p_tenant AND id = v_answer;
    END LOOP;
END $$;

-- Throw away a tenant's answers: under any of these tags; none given: all.
CREATE FUNCTION corral.semantic_drop(p_tenant text, p_tags text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('semantic ' || p_tenant, 0));
    INSERT INTO corral.semantic_generations AS known (tenant, generation) VALUES (p_tenant, 1)
    ON CONFLICT (tenant) DO UPDATE SET generation = known.generation + 1;
    DELETE FROM corral.semantic_answers
    WHERE tenant = p_tenant AND (p_tags IS NULL OR (tags IS NOT NULL AND tags && p_tags));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

-- Answers past their time, and of each route the oldest labels beyond a number.
CREATE FUNCTION corral.semantic_sweep(p_labels_max bigint, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_gone bigint;
    v_more bigint;
BEGIN
    DELETE FROM corral.semantic_answers WHERE (tenant, id) IN (
        SELECT tenant, id FROM corral.semantic_answers WHERE expires_at <= corral.now()
        ORDER BY expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM corral.semantic_labels AS label USING (
        SELECT tenant, route, (
            SELECT number FROM corral.semantic_labels AS newest
            WHERE newest.tenant = long.tenant AND newest.route = long.route
            ORDER BY number DESC OFFSET p_labels_max LIMIT 1) AS last
        FROM corral.semantic_labels AS long GROUP BY tenant, route HAVING count(*) > p_labels_max
    ) AS excess
    WHERE label.tenant = excess.tenant AND label.route = excess.route AND label.number <= excess.last;
    GET DIAGNOSTICS v_more = ROW_COUNT;
    RETURN v_gone + v_more;
END $$;
