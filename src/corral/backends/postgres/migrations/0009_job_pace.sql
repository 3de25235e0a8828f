-- Claiming, ending and sweeping faster, with the same results.

-- Take ready jobs, the most urgent first; the last row has no job, and says in how many seconds the next one is due.
-- A token is `p_call`, which never comes twice, a number, `k` where there is a concurrency key, and the tenant: so that
-- who carries it need not look for the one, and finds an ended job by the other. What is locked is found again by its spot.
CREATE OR REPLACE FUNCTION corral.claim_jobs(
    p_worker text, p_queues text[], p_limit integer, p_lease_s double precision, p_exclude text[], p_call text
) RETURNS TABLE (
    o_id text, o_token text, o_tenant text, o_agent text, o_input bytea, o_session_id text, o_user_id text,
    o_queue text, o_priority smallint, o_attempt integer, o_failures integer, o_max_attempts integer,
    o_deadline_at double precision, o_created_at double precision, o_claimed_at double precision,
    o_has_journal boolean, o_tags text, o_spec bytea, o_next_due_s double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_next double precision;
    v_rank smallint;
    v_first text;
    v_last text;
    v_more text[];
    v_spots tid[];
    v_ids text[] := '{}';
    v_at tid[] := '{}';
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- A claim that a crash undoes was never used for a write.
    SELECT min(run_at) INTO v_next FROM corral.job_queue WHERE run_at IS NOT NULL;
    IF v_next <= v_now THEN
        PERFORM corral.ready_due(1000);
        SELECT min(run_at) INTO v_next FROM corral.job_queue WHERE run_at IS NOT NULL;
    END IF;
    PERFORM corral.raise_head(queue, rank) FROM corral.job_heads
    WHERE moved_at <= v_now - 0.5 AND (cardinality(p_queues) = 0 OR queue = ANY (p_queues));
    -- Rank by rank; within a rank, queues take turns.
    FOR v_rank IN
        SELECT DISTINCT rank FROM corral.job_heads
        WHERE cardinality(p_queues) = 0 OR queue = ANY (p_queues) ORDER BY rank
    LOOP
        SELECT array_agg(id ORDER BY turn), array_agg(spot ORDER BY turn) INTO v_more, v_spots FROM (
            SELECT id, spot, turn FROM (
                SELECT line.id, line.spot, row_number() OVER (PARTITION BY head.queue ORDER BY line.pass, line.place) AS turn
                FROM corral.job_heads AS head CROSS JOIN LATERAL (
                    SELECT id, ctid AS spot, pass, place FROM corral.job_queue AS job
                    WHERE job.queue = head.queue AND job.rank = head.rank AND state = 'queued' AND pass >= head.floor
                      AND agent <> ALL (p_exclude) AND (deadline_at IS NULL OR deadline_at > v_now)
                    ORDER BY queue, rank, pass, place LIMIT p_limit - cardinality(v_ids) FOR UPDATE SKIP LOCKED
                ) AS line
                WHERE head.rank = v_rank AND (cardinality(p_queues) = 0 OR head.queue = ANY (p_queues))
            ) AS ready ORDER BY turn LIMIT p_limit - cardinality(v_ids)
        ) AS first;
        v_ids := v_ids || v_more;
        v_at := v_at || v_spots;
        EXIT WHEN cardinality(v_ids) >= p_limit;
    END LOOP;
    IF cardinality(v_ids) > 0 THEN
        SELECT min(id), max(id) INTO v_first, v_last FROM unnest(v_ids) AS id;
        RETURN QUERY
            UPDATE corral.job_queue AS job SET state = 'running', worker = p_worker, lease_until = v_now + p_lease_s,
                token = p_call || '.' || one.ord || CASE WHEN job.concurrency_key IS NULL THEN ':' ELSE 'k:' END
                    || job.tenant, started_at = v_now, attempt = job.attempt + 1
            FROM unnest(v_ids, v_at) WITH ORDINALITY AS one(id, spot, ord), corral.jobs AS kept
            WHERE job.ctid = one.spot AND job.id = one.id
                AND kept.tenant = job.tenant AND kept.id = job.id AND kept.id BETWEEN v_first AND v_last
            RETURNING job.id, job.token, job.tenant, job.agent, kept.input, kept.session_id, kept.user_id, job.queue,
                (10 - job.rank)::smallint, job.attempt, job.failures, job.max_attempts, job.deadline_at,
                kept.created_at, v_now, job.has_journal, kept.tags, kept.spec, NULL::double precision;
        IF EXISTS (SELECT 1 FROM corral.job_follows WHERE job_id = ANY (v_ids)) THEN
            PERFORM corral.tell_jobs(v_ids);
        END IF;
    END IF;
    o_next_due_s := CASE WHEN v_next IS NOT NULL THEN greatest(0, v_next - v_now) END;  -- `greatest` passes over nulls.
    RETURN NEXT;
END $$;

-- THE way to an end: the caller holds the jobs. Their keys are for the caller to give on. Each gets its callback into
-- the outbox and leaves the queue. The bounds of `kept` spare us the partitions of other days. Those of `gone` say nothing
-- but that it is short: else the planner may read all jobs between the bounds, which with a backlog are all there are.
CREATE OR REPLACE FUNCTION corral.end_jobs(p_ids text[], p_states text[], p_results bytea[], p_errors bytea[], p_ended_by text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_first text;
    v_last text;
    v_called boolean;
BEGIN
    SELECT min(id), max(id) INTO v_first, v_last FROM unnest(p_ids) AS id;
    WITH gone AS (
        DELETE FROM corral.job_queue AS job
        USING unnest(p_ids, p_states, p_results, p_errors, p_ended_by) AS one(id, state, result, error, ended_by)
        WHERE job.id = one.id
        RETURNING job.id, job.tenant, one.state, one.result, one.error, one.ended_by, job.started_at, job.attempt,
            job.failures, job.worker, job.last_seq, job.progress
    ), ended AS (
        UPDATE corral.jobs AS kept SET
            state = gone.state, result = gone.result, error = gone.error, ended_by = gone.ended_by,
            dead = gone.state = 'failed', finished_at = v_now, started_at = gone.started_at, attempt = gone.attempt,
            failures = gone.failures, worker = gone.worker, last_seq = gone.last_seq, progress = gone.progress
        FROM gone WHERE kept.tenant = gone.tenant AND kept.id = gone.id AND kept.id BETWEEN v_first AND v_last
            AND gone.id BETWEEN v_first AND v_last
        RETURNING kept.tenant, kept.id, kept.callback
    ), called AS (
        INSERT INTO corral.job_outbox (id, tenant, job_id, status, created_at, next_at, callback)
        SELECT gen_random_uuid()::text, tenant, id, 'pending', v_now, v_now, callback FROM ended
        WHERE callback IS NOT NULL RETURNING 1
    ) SELECT count(*) > 0 INTO v_called FROM called;
    IF v_called THEN
        PERFORM pg_notify('corral_jobs', 'o');
    END IF;
    PERFORM corral.tell_jobs(p_ids);
END $$;

-- Let jobs go as each ending says; false: that claim was lost. `p_errors` is what goes into the record of the attempt.
CREATE OR REPLACE FUNCTION corral.settle_jobs(
    p_ids text[], p_tokens text[], p_kinds text[], p_results bytea[], p_errors bytea[],
    p_delays double precision[], p_awaits text[], p_wait_until double precision[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_kinds text[];
    v_tenants text[];
    v_keys text[];
    v_settled boolean[];
    v_others boolean;
    v_count integer;
    v_first text;
    v_last text;
    v_now double precision;
    v_called boolean;
BEGIN
    -- The usual batch has only successes without keys, and is locked, ended and told in one go, in the order of ids.
    IF 'succeeded' = ALL (p_kinds) AND p_errors IS NULL AND NOT EXISTS (
        SELECT 1 FROM unnest(p_tokens) AS token WHERE split_part(token, ':', 1) LIKE '%k'
    ) THEN
        v_now := corral.now();
        SELECT min(id), max(id) INTO v_first, v_last FROM unnest(p_ids) AS id;
        WITH gone AS (
            DELETE FROM corral.job_queue AS job
            USING (
                SELECT * FROM unnest(p_ids, p_tokens, p_results) AS given(id, token, result) ORDER BY id
            ) AS one
            WHERE job.id = one.id AND job.token = one.token
            RETURNING job.id, job.tenant, one.token, one.result, job.started_at, job.attempt, job.failures,
                job.worker, job.last_seq, job.progress
        ), ended AS (
            UPDATE corral.jobs AS kept SET
                state = 'succeeded', result = gone.result, error = NULL, ended_by = gone.token || ' succeeded',
                dead = false, finished_at = v_now, started_at = gone.started_at, attempt = gone.attempt,
                failures = gone.failures, worker = gone.worker, last_seq = gone.last_seq, progress = gone.progress
            FROM gone WHERE kept.tenant = gone.tenant AND kept.id = gone.id AND kept.id BETWEEN v_first AND v_last
                AND gone.id BETWEEN v_first AND v_last
            RETURNING kept.tenant, kept.id, kept.callback
        ), called AS (
            INSERT INTO corral.job_outbox (id, tenant, job_id, status, created_at, next_at, callback)
            SELECT gen_random_uuid()::text, tenant, id, 'pending', v_now, v_now, callback FROM ended
            WHERE callback IS NOT NULL RETURNING 1
        ) SELECT count(*), (SELECT count(*) > 0 FROM called) INTO v_count, v_called FROM gone;
        IF v_called THEN
            PERFORM pg_notify('corral_jobs', 'o');
        END IF;
        IF EXISTS (SELECT 1 FROM corral.job_follows WHERE job_id = ANY (p_ids)) THEN
            PERFORM corral.tell_jobs(p_ids);
        END IF;
        IF v_count = cardinality(p_ids) THEN
            RETURN array_fill(true, ARRAY[v_count]);
        END IF;
        -- Some claims were lost, or said so before: what ended just now carries the word of it like what did then.
        RETURN ARRAY(
            SELECT coalesce((SELECT kept.ended_by = one.token || ' succeeded' FROM corral.jobs AS kept
                WHERE kept.tenant = substr(one.token, strpos(one.token, ':') + 1) AND kept.id = one.id), false)
            FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS one(id, token, ord) ORDER BY ord);
    END IF;
    IF EXISTS (SELECT 1 FROM unnest(p_tokens) AS token WHERE split_part(token, ':', 1) LIKE '%k') THEN
        PERFORM corral.lock_jobs(p_ids);
    END IF;
    SELECT array_agg(kind ORDER BY ord), array_agg(tenant ORDER BY ord) FILTER (WHERE concurrency_key IS NOT NULL),
        array_agg(concurrency_key ORDER BY ord) FILTER (WHERE concurrency_key IS NOT NULL),
        array_agg(kind IS NOT NULL ORDER BY ord),
        bool_or(kind IN ('retry', 'released', 'waiting'))
    INTO v_kinds, v_tenants, v_keys, v_settled, v_others
    FROM (
        SELECT ord, job.tenant, job.concurrency_key, CASE
            WHEN job.id IS NULL THEN NULL
            WHEN job.cancel_requested AND kind NOT IN ('succeeded', 'failed') THEN 'cancelled' ELSE kind END AS kind
        FROM (
            SELECT * FROM unnest(p_ids, p_tokens, p_kinds) WITH ORDINALITY AS given(id, token, kind, ord) ORDER BY id
        ) AS one LEFT JOIN LATERAL (
            SELECT id, tenant, concurrency_key, cancel_requested FROM corral.job_queue AS held
            WHERE held.id = one.id AND held.token = one.token FOR UPDATE
        ) AS job ON true
    ) AS held;

    IF NOT v_settled @> ARRAY[false] AND NOT v_others AND p_errors IS NULL THEN  -- All ended, and well.
        PERFORM corral.end_jobs(p_ids, v_kinds, p_results, NULL, ARRAY(SELECT unnest(p_tokens) || ' ' || unnest(p_kinds)));
    ELSE
        -- Said before: the answer got lost, and the worker says it again.
        SELECT array_agg(one.settled OR coalesce(
            (SELECT job.let_go = one.token || ' ' || one.kind FROM corral.job_queue AS job WHERE job.id = one.id),
            (SELECT kept.ended_by = one.token || ' ' || one.kind FROM corral.jobs AS kept
                WHERE kept.tenant = substr(one.token, strpos(one.token, ':') + 1) AND kept.id = one.id),
            false) ORDER BY ord)
        INTO v_settled
        FROM unnest(p_ids, p_tokens, p_kinds, v_settled) WITH ORDINALITY AS one(id, token, kind, settled, ord);
        PERFORM corral.let_go_jobs(
            p_ids, p_tokens, p_kinds, v_kinds, p_results, p_errors, p_delays, p_awaits, p_wait_until, v_tenants, v_keys);
        RETURN v_settled;
    END IF;
    IF v_keys IS NOT NULL THEN
        PERFORM corral.ready_jobs('{}', v_tenants, v_keys);
    END IF;
    RETURN v_settled;
END $$;

-- Remove what nobody needs any more: answers to idempotency keys, dead workers, idle lanes and heads, unused keys, old
-- follows.
CREATE OR REPLACE FUNCTION corral.tidy_jobs(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_gone integer := 0;
    v_count integer;
    v_share real;
    v_tenants text[];
    v_keys text[];
    v_head record;
BEGIN
    DELETE FROM corral.job_dedupe WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.job_dedupe WHERE expires_at <= v_now
        ORDER BY expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_gone := v_gone + v_count;
    DELETE FROM corral.job_workers WHERE seen_at <= v_now - 3600;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_gone := v_gone + v_count;
    DELETE FROM corral.job_lanes WHERE (queue, rank, lane) IN (
        SELECT queue, rank, lane FROM corral.job_lanes
        WHERE moved_at <= v_now - 60 AND last_pass <= corral.head_pass(queue, rank)
        LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_gone := v_gone + v_count;
    -- Of many keys some, others each time. First locked, then looked at again: a job that came meanwhile needs its key.
    SELECT least(100, 1000.0 * p_limit / greatest(1, reltuples)) INTO v_share
    FROM pg_class WHERE oid = 'corral.job_slots'::regclass;
    SELECT array_agg(tenant), array_agg(key) INTO v_tenants, v_keys FROM (
        SELECT tenant, key FROM corral.job_slots AS slot TABLESAMPLE SYSTEM (v_share) WHERE NOT EXISTS (
            SELECT 1 FROM corral.job_queue AS job
            WHERE job.tenant = slot.tenant AND job.concurrency_key = slot.key)
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) AS unused;
    DELETE FROM corral.job_slots AS slot USING unnest(v_tenants, v_keys) AS unused(tenant, key)
    WHERE slot.tenant = unused.tenant AND slot.key = unused.key AND NOT EXISTS (
        SELECT 1 FROM corral.job_queue AS job WHERE job.tenant = slot.tenant AND job.concurrency_key = slot.key);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_gone := v_gone + v_count;
    -- A queue and rank without lanes has been idle for a while. Claims look at every head: names used once must not stay.
    -- One after the other, and only those: as one statement it may be planned to read the whole queue each time.
    FOR v_head IN
        SELECT queue, rank FROM corral.job_heads AS head
        WHERE NOT EXISTS (SELECT 1 FROM corral.job_lanes AS lane WHERE lane.queue = head.queue AND lane.rank = head.rank)
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM 1 FROM corral.job_queue
        WHERE queue = v_head.queue AND rank = v_head.rank AND state = 'queued' ORDER BY queue, rank, pass, place LIMIT 1;
        IF NOT FOUND THEN
            DELETE FROM corral.job_heads WHERE queue = v_head.queue AND rank = v_head.rank;
        END IF;
    END LOOP;
    DELETE FROM corral.job_follows WHERE job_id IN (
        SELECT job_id FROM corral.job_follows WHERE expires_at <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
    RETURN v_gone;
END $$;

-- What is replaced loses its settings. And no plan may keep what it read for a few rows, to walk through it for each job.
DO $$
DECLARE
    v_function text;
    v_setting text;
BEGIN
    FOREACH v_function IN ARRAY ARRAY['claimed_jobs', 'claim_jobs', 'end_jobs', 'settle_jobs'] LOOP
        EXECUTE format('ALTER FUNCTION corral.%I SET plan_cache_mode = force_generic_plan', v_function);
        FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'material'] LOOP
            EXECUTE format('ALTER FUNCTION corral.%I SET %I = off', v_function, 'enable_' || v_setting);
        END LOOP;
    END LOOP;
END $$;
