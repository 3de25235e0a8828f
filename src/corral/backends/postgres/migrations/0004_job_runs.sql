-- What workers do with jobs, and what jobs hear while they run.

-- What a worker gets of jobs that it holds, in the order given.
CREATE FUNCTION corral.claimed_jobs(p_ids text[]) RETURNS TABLE (
    o_id text, o_token text, o_tenant text, o_agent text, o_input bytea, o_session_id text, o_user_id text,
    o_queue text, o_priority smallint, o_attempt integer, o_failures integer, o_max_attempts integer,
    o_deadline_at double precision, o_created_at double precision, o_claimed_at double precision,
    o_has_journal boolean, o_tags text, o_spec bytea, o_next_due_s double precision
) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        SELECT job.id, job.token, job.tenant, job.agent, kept.input, kept.session_id, kept.user_id, job.queue,
            (10 - job.rank)::smallint, job.attempt, job.failures, job.max_attempts, job.deadline_at, kept.created_at,
            job.started_at, job.has_journal, kept.tags, kept.spec, NULL::double precision
        FROM unnest(p_ids) WITH ORDINALITY AS one(id, ord)
            JOIN corral.job_queue AS job ON job.id = one.id
            JOIN corral.jobs AS kept ON kept.tenant = job.tenant AND kept.id = job.id
        ORDER BY ord;
END $$;

-- Take ready jobs, the most urgent first; the last row has no job, and says in how many seconds the next one is due.
-- A token is `p_call`, which never comes twice, a number, `k` where there is a concurrency key, and the tenant: so that
-- who carries it need not look for the one, and finds an ended job by the other.
CREATE FUNCTION corral.claim_jobs(
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
    v_ids text[] := '{}';
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
        v_more := ARRAY(
            SELECT id FROM (
                SELECT line.id, row_number() OVER (PARTITION BY head.queue ORDER BY line.pass, line.place) AS turn
                FROM corral.job_heads AS head CROSS JOIN LATERAL (
                    SELECT id, pass, place FROM corral.job_queue AS job
                    WHERE job.queue = head.queue AND job.rank = head.rank AND state = 'queued' AND pass >= head.floor
                      AND agent <> ALL (p_exclude) AND (deadline_at IS NULL OR deadline_at > v_now)
                    ORDER BY queue, rank, pass, place LIMIT p_limit - cardinality(v_ids) FOR UPDATE SKIP LOCKED
                ) AS line
                WHERE head.rank = v_rank AND (cardinality(p_queues) = 0 OR head.queue = ANY (p_queues))
            ) AS ready ORDER BY turn LIMIT p_limit - cardinality(v_ids));
        v_ids := v_ids || v_more;
        EXIT WHEN cardinality(v_ids) >= p_limit;
    END LOOP;
    IF cardinality(v_ids) > 0 THEN
        SELECT min(id), max(id) INTO v_first, v_last FROM unnest(v_ids) AS id;
        RETURN QUERY
            UPDATE corral.job_queue AS job SET state = 'running', worker = p_worker, lease_until = v_now + p_lease_s,
                token = p_call || '.' || one.ord || CASE WHEN job.concurrency_key IS NULL THEN ':' ELSE 'k:' END
                    || job.tenant, started_at = v_now, attempt = job.attempt + 1
            FROM unnest(v_ids) WITH ORDINALITY AS one(id, ord), corral.jobs AS kept
            WHERE job.id = one.id AND kept.tenant = job.tenant AND kept.id = job.id AND kept.id BETWEEN v_first AND v_last
            RETURNING job.id, job.token, job.tenant, job.agent, kept.input, kept.session_id, kept.user_id, job.queue,
                (10 - job.rank)::smallint, job.attempt, job.failures, job.max_attempts, job.deadline_at,
                kept.created_at, v_now, job.has_journal, kept.tags, kept.spec, NULL::double precision;
        PERFORM corral.tell_jobs(v_ids);
    END IF;
    o_next_due_s := CASE WHEN v_next IS NOT NULL THEN greatest(0, v_next - v_now) END;  -- `greatest` passes over nulls.
    RETURN NEXT;
END $$;

-- What a claim took whose answer got lost on the way.
CREATE FUNCTION corral.claimed_by_call(p_call text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT id FROM corral.job_queue WHERE state = 'running' AND lease_until > 0 AND starts_with(token, p_call || '.');
END $$;

-- Extend leases; the tokens that still hold their job, and whether somebody wants that job cancelled.
CREATE FUNCTION corral.renew_jobs(p_ids text[], p_tokens text[], p_lease_s double precision)
RETURNS TABLE (o_token text, o_cancelled boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_until double precision := corral.now() + p_lease_s;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    RETURN QUERY
        UPDATE corral.job_queue AS job SET lease_until = v_until
        FROM unnest(p_ids, p_tokens) AS one(id, token)
        WHERE job.id = one.id AND job.token = one.token
        RETURNING job.token, job.cancel_requested;
END $$;

-- THE way to an end: the caller holds the jobs. Their keys are for the caller to give on. Each gets its callback into
-- the outbox and leaves the queue. (The bounds of ids spare us the partitions of other days.)
CREATE FUNCTION corral.end_jobs(p_ids text[], p_states text[], p_results bytea[], p_errors bytea[], p_ended_by text[])
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
CREATE FUNCTION corral.settle_jobs(
    p_ids text[], p_tokens text[], p_kinds text[], p_results bytea[], p_errors bytea[],
    p_delays double precision[], p_awaits text[], p_wait_until double precision[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_kinds text[];
    v_tenants text[];
    v_keys text[];
    v_settled boolean[];
    v_others boolean;
BEGIN
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

-- The less common ways to settle: `p_becomes` is what each really comes to, null where the claim was lost.
CREATE FUNCTION corral.let_go_jobs(
    p_ids text[], p_tokens text[], p_kinds text[], p_becomes text[], p_results bytea[], p_errors bytea[],
    p_delays double precision[], p_awaits text[], p_wait_until double precision[], p_tenants text[], p_keys text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_soon text[];
    v_ready text[];
BEGIN
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

-- Write steps, each key once; false: that claim was lost.
CREATE FUNCTION corral.journal_steps(
    p_ids text[], p_tokens text[], p_keys text[], p_ordinals integer[], p_kinds text[], p_values bytea[],
    p_references boolean[], p_failed boolean[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_held boolean[];
    v_first text[];
BEGIN
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(job.id IS NOT NULL ORDER BY ord), array_agg(DISTINCT job.id) FILTER (WHERE NOT job.has_journal)
    INTO v_held, v_first
    FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS one(id, token, ord)
        LEFT JOIN corral.job_queue AS job ON job.id = one.id AND job.token = one.token;
    INSERT INTO corral.job_steps (job_id, key, ordinal, kind, value, is_reference, failed)
    SELECT id, key, ordinal, kind, value, is_reference, failed
    FROM unnest(p_ids, p_keys, p_ordinals, p_kinds, p_values, p_references, p_failed, v_held)
        AS one(id, key, ordinal, kind, value, is_reference, failed, held)
    WHERE held ON CONFLICT DO NOTHING;
    IF v_first IS NOT NULL THEN
        UPDATE corral.job_queue SET has_journal = true WHERE id = ANY (v_first);
    END IF;
    RETURN v_held;
END $$;

-- Append events; their numbers, 0 where the claim was lost. `p_call` never comes twice, except for the same events.
CREATE FUNCTION corral.emit_events(
    p_ids text[], p_tokens text[], p_kinds text[], p_data bytea[], p_keep bigint, p_call text
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_seqs bigint[];
    v_full text[];
    v_margin bigint := greatest(1, p_keep / 10);
BEGIN
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(CASE
            WHEN job.id IS NULL THEN 0
            WHEN job.emitted = p_call THEN turn - turns
            ELSE turn END + coalesce(job.last_seq, 0) ORDER BY ord)
    INTO v_seqs
    FROM (
        SELECT *, row_number() OVER (PARTITION BY id ORDER BY ord) AS turn, count(*) OVER (PARTITION BY id) AS turns
        FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS given(id, token, ord)
    ) AS one LEFT JOIN corral.job_queue AS job
        ON job.id = one.id AND job.token = one.token;
    INSERT INTO corral.job_events (job_id, seq, attempt, kind, at, data)
    SELECT job.id, seq, job.attempt, kind, v_now, data
    FROM unnest(p_ids, p_kinds, p_data, v_seqs) AS one(id, kind, data, seq)
        JOIN corral.job_queue AS job ON job.id = one.id
    WHERE seq > job.last_seq;
    WITH moved AS (
        UPDATE corral.job_queue AS job SET last_seq = one.seq, emitted = p_call,
            progress = coalesce(one.progress, job.progress)
        FROM (
            SELECT id, count(*) AS turns, max(seq) AS seq, (array_agg(data ORDER BY seq DESC) FILTER (WHERE kind = 'progress'))[1] AS progress
            FROM unnest(p_ids, p_kinds, p_data, v_seqs) AS given(id, kind, data, seq) GROUP BY id
        ) AS one
        WHERE job.id = one.id AND one.seq > job.last_seq
        RETURNING job.id, job.last_seq > p_keep
            AND (job.last_seq - p_keep) / v_margin > (job.last_seq - one.turns - p_keep) / v_margin AS is_full
    ) SELECT array_agg(id) FILTER (WHERE is_full) INTO v_full FROM moved;
    IF v_full IS NOT NULL THEN
        DELETE FROM corral.job_events AS event USING corral.job_queue AS job
        WHERE job.id = ANY (v_full) AND event.job_id = job.id AND event.seq <= job.last_seq - p_keep;
    END IF;
    PERFORM corral.tell_jobs(p_ids);
    RETURN v_seqs;
END $$;

-- Write the next signal of a name into an open job's journal, and wake the job if it waits for that one.
CREATE FUNCTION corral.signal_job(p_tenant text, p_id text, p_name text, p_value bytea, p_call text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_job record;
    v_prefix text := 'signal:' || p_name || '#';
    v_key text;
BEGIN
    PERFORM corral.lock_jobs(ARRAY[p_id]);
    SELECT state, awaits, concurrency_key INTO v_job FROM corral.job_queue WHERE id = p_id AND tenant = p_tenant;
    IF EXISTS (SELECT 1 FROM corral.job_steps WHERE job_id = p_id AND call = p_call) THEN
        RETURN 'signalled';
    ELSIF v_job.state IS NULL THEN
        RETURN CASE WHEN EXISTS (SELECT 1 FROM corral.jobs WHERE tenant = p_tenant AND id = p_id)
            THEN 'ended' ELSE 'unknown' END;
    END IF;
    SELECT v_prefix || 1 + count(*) INTO v_key FROM corral.job_steps
    WHERE job_id = p_id AND kind = 'signal' AND starts_with(key, v_prefix)
      AND substr(key, length(v_prefix) + 1) ~ '^[0-9]+$';
    INSERT INTO corral.job_steps (job_id, key, ordinal, kind, value, is_reference, failed, call)
    VALUES (p_id, v_key, 0, 'signal', p_value, false, false, p_call);
    UPDATE corral.job_queue SET has_journal = true WHERE id = p_id AND NOT has_journal;
    IF v_job.state = 'waiting' AND v_job.awaits = v_key THEN
        PERFORM corral.ready_jobs(ARRAY[p_id], '{}', '{}');
    ELSE
        PERFORM corral.tell_jobs(ARRAY[p_id]);
    END IF;
    RETURN 'signalled';
END $$;
