-- Jobs of a bundle were enqueued alike: what they have in common stands there once, and who looks for something else opens none
-- of them. A bundle of before says nothing of its jobs, and is opened.
ALTER TABLE corral.job_bundles
    ADD COLUMN agent      text COLLATE "C",
    ADD COLUMN queue      text COLLATE "C",
    ADD COLUMN user_id    text COLLATE "C",
    ADD COLUMN tags       text,
    ADD COLUMN created_at double precision;

-- Enqueue jobs that differ in ids and inputs alone, ready at once; one whose id is known is a unique violation. In the
-- order of `enqueue_jobs`: who is told, whose turn it is, the queue. The last one has the pass that one job with the share of
-- all would have.
CREATE OR REPLACE FUNCTION corral.enqueue_alike(
    p_ids text[], p_inputs bytea[], p_tenant text, p_agent text, p_queue text, p_user text, p_batch text, p_tags text,
    p_rank smallint, p_lane text, p_weight double precision, p_limit integer, p_max_attempts integer,
    p_deadline_s double precision, p_spec bytea, p_callback bytea, p_first text, p_last text, p_widest integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_jobs integer := cardinality(p_ids);
    v_place bigint := corral.next_place();
    v_pass double precision;
    v_deadline_at double precision := v_now + p_deadline_s;
    v_priority smallint := 10 - p_rank;
    v_bundle bigint;
BEGIN
    IF v_jobs >= 64 AND corral.made_together(p_first, p_last) THEN
        v_bundle := v_place;
        INSERT INTO corral.job_bundles (tenant, last_id, first_id, bundle, agent, queue, user_id, tags, created_at)
        VALUES (p_tenant, p_last, p_first, v_bundle, p_agent, p_queue, p_user, p_tags, v_now);
    END IF;
    PERFORM corral.tell_work(ARRAY[p_queue]);
    v_pass := (corral.take_passes(ARRAY[p_queue], ARRAY[p_rank], ARRAY[p_lane], ARRAY[p_weight / v_jobs]))[1];
    INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, state, weight, pass, ready_at, aged_at, deadline_at,
        concurrency_limit, max_attempts, rank, place, bundle, created_at, priority, user_id, batch_id, tags, spec, callback, input)
    OVERRIDING SYSTEM VALUE
    SELECT id, p_tenant, p_queue, p_agent, p_lane, 'queued', p_weight, v_pass - (v_jobs - ord) / p_weight, v_now, v_now,
        v_deadline_at, p_limit, p_max_attempts, p_rank, v_place + ord - 1, v_bundle, v_now, v_priority, p_user, p_batch, p_tags,
        p_spec, p_callback, corral.narrow(input)
    FROM (SELECT unnest(p_ids) AS id, unnest(p_inputs) AS input, generate_series(1, v_jobs) AS ord) AS one;
    -- Looked for when nobody can end them any more: who was ending one while we came has done so.
    IF corral.some_ended(p_tenant, p_ids, p_first, p_last) THEN
        RAISE unique_violation;
    END IF;
    IF p_widest > 1500 THEN
        PERFORM corral.keep_wide(p_ids, p_inputs);
    END IF;
END $$;

-- The open jobs of a tenant before an id, newest first, through every filter that is given: those of a batch, or those on
-- their own and then bundle by bundle, as far as there may be one that is newer than what was found. What runs now is never
-- much, and is looked through as a whole.
CREATE OR REPLACE FUNCTION corral.open_ids(
    p_tenant text, p_before text, p_limit integer, p_states text[], p_agent text, p_queue text, p_tag text,
    p_session text, p_user text, p_batch text, p_since double precision, p_until double precision
) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_ids text[];
    v_more text[];
    v_bundle record;
BEGIN
    IF NOT p_states && ARRAY['queued', 'scheduled', 'running', 'waiting'] THEN
        RETURN '{}';
    END IF;
    IF p_batch IS NOT NULL THEN
        RETURN ARRAY(
            SELECT id FROM corral.job_queue AS job WHERE tenant = p_tenant AND batch_id = p_batch AND id < p_before
                AND corral.is_sought(job, p_states, p_agent, p_queue, p_tag, p_session, p_user, p_since, p_until)
            ORDER BY id DESC LIMIT p_limit);
    END IF;
    IF p_states = ARRAY['running'] THEN
        RETURN ARRAY(
            WITH now AS MATERIALIZED (
                SELECT id FROM corral.job_queue AS job
                WHERE state = 'running' AND lease_until > 0 AND tenant = p_tenant AND id || '' < p_before
                    AND corral.is_sought(job, NULL, p_agent, p_queue, p_tag, p_session, p_user, p_since, p_until)
            ) SELECT id FROM now ORDER BY id DESC LIMIT p_limit);
    END IF;
    v_ids := ARRAY(
        SELECT id FROM corral.job_queue AS job WHERE tenant = p_tenant AND bundle IS NULL AND id < p_before
            AND corral.is_sought(job, p_states, p_agent, p_queue, p_tag, p_session, p_user, p_since, p_until)
        ORDER BY id DESC LIMIT p_limit);
    FOR v_bundle IN
        SELECT bundle, first_id, last_id FROM corral.job_bundles
        WHERE tenant = p_tenant AND first_id < p_before AND (agent IS NULL OR p_session IS NULL
            AND (p_agent IS NULL OR agent = p_agent)
            AND (p_queue IS NULL OR queue = p_queue)
            AND (p_tag IS NULL OR tags::jsonb ? p_tag)
            AND (p_user IS NULL OR user_id = p_user)
            AND (p_since IS NULL OR created_at >= p_since)
            AND (p_until IS NULL OR created_at < p_until))
        ORDER BY last_id DESC
    LOOP
        EXIT WHEN v_ids[p_limit] > v_bundle.last_id;
        v_more := ARRAY(
            SELECT id FROM corral.job_queue AS job
            WHERE tenant = p_tenant AND bundle = v_bundle.bundle AND id BETWEEN v_bundle.first_id AND v_bundle.last_id
                AND id < p_before
                AND corral.is_sought(job, p_states, p_agent, p_queue, p_tag, p_session, p_user, p_since, p_until)
            ORDER BY id DESC LIMIT p_limit);
        IF cardinality(v_more) > 0 THEN
            v_ids := ARRAY(SELECT id FROM unnest(v_ids || v_more) AS id ORDER BY id COLLATE "C" DESC LIMIT p_limit);
        END IF;
    END LOOP;
    RETURN v_ids;
END $$;

-- What is replaced has no settings.
DO $$
DECLARE
    v_setting text;
BEGIN
    ALTER FUNCTION corral.open_ids SET plan_cache_mode = force_generic_plan;
    FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'material'] LOOP
        EXECUTE format('ALTER FUNCTION corral.open_ids SET %I = off', 'enable_' || v_setting);
    END LOOP;
END $$;
