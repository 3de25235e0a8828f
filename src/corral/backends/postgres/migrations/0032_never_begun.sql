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
    v_now double precision;
    v_called boolean;
BEGIN
    -- The usual batch has only successes without keys, and is locked, ended and told in one go, in the order of ids.
    IF 'succeeded' = ALL (p_kinds) AND p_errors IS NULL AND NOT EXISTS (
        SELECT 1 FROM unnest(p_tokens) AS token WHERE split_part(token, ':', 1) LIKE '%k'
    ) THEN
        v_now := corral.now();
        WITH gone AS (
            DELETE FROM corral.job_queue AS job
            USING (
                SELECT * FROM unnest(p_ids, p_tokens, p_results) AS given(end_id, end_token, end_result) ORDER BY end_id
            ) AS one
            WHERE job.id = one.end_id AND job.token = one.end_token
            RETURNING job.*, one.end_result
        ), ended AS (
            INSERT INTO corral.jobs AS kept (tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane,
                weight, concurrency_key, concurrency_limit, max_attempts, created_at, deadline_at, spec, callback, input, state,
                attempt, failures, last_seq, started_at, finished_at, worker, ended_by, dead, progress, error, result)
            SELECT tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane,
                weight, concurrency_key, concurrency_limit, max_attempts, created_at, coalesce(given_deadline_at, deadline_at), spec,
                callback, input, 'succeeded',
                attempt, failures, last_seq, started_at, v_now, worker, token || ' succeeded', false, progress, NULL, end_result
            FROM gone
            RETURNING kept.tenant, kept.id, kept.callback
        ), called AS (
            INSERT INTO corral.job_outbox (id, tenant, job_id, status, created_at, next_at, callback)
            SELECT gen_random_uuid()::text, tenant, id, 'pending', v_now, v_now, callback FROM ended
            WHERE callback IS NOT NULL RETURNING 1
        ) SELECT count(*), (SELECT count(*) > 0 FROM called) INTO v_count, v_called FROM ended;
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

    IF NOT v_settled @> ARRAY[false] AND NOT v_others AND p_errors IS NULL AND p_delays IS NULL THEN  -- All ended, and well.
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

-- The less common ways to settle: `p_becomes` is what each really comes to, null where the claim was lost. Who lets a job go
-- that was not begun says so with a delay below 0, and its claim is no attempt.
CREATE OR REPLACE FUNCTION corral.let_go_jobs(
    p_ids text[], p_tokens text[], p_kinds text[], p_becomes text[], p_results bytea[], p_errors bytea[],
    p_delays double precision[], p_awaits text[], p_wait_until double precision[], p_tenants text[], p_keys text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_soon text[];
    v_ready text[];
BEGIN
    -- Who comes again with these jobs has their lanes while it waits for what becomes of their rows. So what needs a place in a
    -- lane takes the lane before any row changes.
    IF EXISTS (SELECT 1 FROM unnest(p_becomes, p_delays) AS one(becomes, delay_s) WHERE becomes = 'retry' AND delay_s <= 0) THEN
        PERFORM 1 FROM corral.job_lanes AS known WHERE (queue, rank, lane) IN (
            SELECT job.queue, job.rank, job.lane FROM unnest(p_ids, p_becomes, p_delays) AS one(id, becomes, delay_s)
                JOIN corral.job_queue AS job ON job.id = one.id
            WHERE becomes = 'retry' AND one.delay_s <= 0)
        ORDER BY queue, rank, lane FOR UPDATE;
    END IF;
    IF EXISTS (SELECT 1 FROM unnest(p_becomes, p_delays) AS one(becomes, delay_s) WHERE becomes = 'cancelled' AND delay_s < 0) THEN
        UPDATE corral.job_queue AS job SET attempt = job.attempt - 1, worker = NULL,
            started_at = CASE job.attempt WHEN 1 THEN NULL ELSE job.started_at END
        FROM unnest(p_ids, p_becomes, p_delays) AS one(id, becomes, delay_s)
        WHERE job.id = one.id AND becomes = 'cancelled' AND one.delay_s < 0;
    END IF;
    INSERT INTO corral.job_attempts (job_id, attempt, worker, started_at, ended_at, error)
    SELECT job.id, job.attempt, job.worker, job.started_at, v_now, one.error
    FROM unnest(p_ids, p_becomes, p_errors) AS one(id, becomes, error) JOIN corral.job_queue AS job ON job.id = one.id
    WHERE becomes IN ('retry', 'failed') AND error IS NOT NULL
    ON CONFLICT DO NOTHING;
    UPDATE corral.job_queue AS job SET failures = failures + 1
    FROM unnest(p_ids, p_becomes) AS one(id, becomes) WHERE job.id = one.id AND becomes IN ('retry', 'failed');

    PERFORM corral.end_jobs(
        array_agg(id), array_agg(becomes), array_agg(CASE becomes WHEN 'succeeded' THEN result END),
        array_agg(CASE WHEN becomes <> 'succeeded' THEN error END), array_agg(token || ' ' || kind))
    FROM unnest(p_ids, p_tokens, p_kinds, p_becomes, p_results, p_errors)
        AS one(id, token, kind, becomes, result, error)
    WHERE becomes IN ('succeeded', 'failed', 'cancelled') HAVING count(*) > 0;

    -- It keeps its pass, unless it is to line up again.
    WITH gone AS (
        UPDATE corral.job_queue AS job SET
            state = CASE becomes WHEN 'waiting' THEN 'waiting' ELSE 'scheduled' END,
            token = NULL, worker = NULL, lease_until = NULL, let_go = one.token || ' ' || one.kind,
            pass = CASE becomes WHEN 'retry' THEN NULL ELSE job.pass END,
            attempt = job.attempt - CASE WHEN becomes = 'released' AND one.delay_s < 0 THEN 1 ELSE 0 END,
            started_at = CASE WHEN becomes = 'released' AND one.delay_s < 0 AND job.attempt = 1 THEN NULL ELSE job.started_at END,
            run_at = CASE becomes
                WHEN 'retry' THEN CASE WHEN one.delay_s > 0 THEN v_now + one.delay_s END
                WHEN 'waiting' THEN one.wait_until END,
            awaits = CASE becomes WHEN 'waiting' THEN one.awaits END
        FROM unnest(p_ids, p_tokens, p_kinds, p_becomes, p_delays, p_awaits, p_wait_until)
            AS one(id, token, kind, becomes, delay_s, awaits, wait_until)
        WHERE job.id = one.id AND becomes IN ('retry', 'released', 'waiting')
        RETURNING job.id, job.queue, job.state, job.run_at, job.awaits
    )
    SELECT array_agg(queue) FILTER (WHERE run_at < v_now + 2), array_agg(id) FILTER (WHERE CASE state
        WHEN 'scheduled' THEN coalesce(run_at, 0) <= v_now
        ELSE run_at <= v_now OR EXISTS (
            SELECT 1 FROM corral.job_steps AS step WHERE step.job_id = gone.id AND step.key = gone.awaits) END)
    INTO v_soon, v_ready FROM gone;
    IF v_soon IS NOT NULL THEN
        PERFORM corral.tell_work(v_soon);
    END IF;
    PERFORM corral.ready_jobs(coalesce(v_ready, '{}'), coalesce(p_tenants, '{}'), coalesce(p_keys, '{}'));
    PERFORM corral.tell_jobs(p_ids);
END $$;

-- What is replaced loses its settings.
DO $$
DECLARE
    v_function text;
    v_setting text;
BEGIN
    FOREACH v_function IN ARRAY ARRAY['settle_jobs', 'let_go_jobs'] LOOP
        EXECUTE format('ALTER FUNCTION corral.%I SET plan_cache_mode = force_generic_plan', v_function);
        FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort'] LOOP
            EXECUTE format('ALTER FUNCTION corral.%I SET %I = off', v_function, 'enable_' || v_setting);
        END LOOP;
    END LOOP;
    ALTER FUNCTION corral.settle_jobs SET enable_material = off;
END $$;
