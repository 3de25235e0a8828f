-- How jobs move. What is decided here is decided under locks, in one round trip for as many jobs as there are.

-- -- getting ready ---------------------------------------------------------------------------------------------------

-- Where new jobs of a queue and rank line up at the earliest: at the first that is ready, or behind all there were.
CREATE FUNCTION corral.head_pass(p_queue text, p_rank smallint) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    v_floor double precision;
    v_pass double precision;
BEGIN
    SELECT floor INTO v_floor FROM corral.job_heads WHERE queue = p_queue AND rank = p_rank;
    IF NOT FOUND THEN
        INSERT INTO corral.job_heads (queue, rank) VALUES (p_queue, p_rank) ON CONFLICT DO NOTHING;
        v_floor := 0;
    END IF;
    SELECT pass INTO v_pass FROM corral.job_queue
    WHERE queue = p_queue AND rank = p_rank AND state = 'queued' AND pass >= v_floor
    ORDER BY queue, rank, pass, place LIMIT 1;
    IF NOT FOUND THEN
        SELECT max(last_pass) INTO v_pass FROM corral.job_lanes WHERE queue = p_queue AND rank = p_rank;
    END IF;
    RETURN greatest(v_pass, v_floor);
END $$;

-- Raise the floor of a queue and rank to where it was seen half a second ago. What took longer than that to be written
-- and lies below it is found by looking at everything now and then: the rarer, the longer such a look takes.
CREATE FUNCTION corral.raise_head(p_queue text, p_rank smallint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_head corral.job_heads;
    v_pass double precision;
    v_check boolean;
BEGIN
    SELECT * INTO v_head FROM corral.job_heads
    WHERE queue = p_queue AND rank = p_rank AND moved_at <= v_now - 0.5 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_check := v_head.check_at <= v_now;
    SELECT pass INTO v_pass FROM corral.job_queue
    WHERE queue = p_queue AND rank = p_rank AND state = 'queued' AND (pass >= CASE WHEN v_check THEN 0 ELSE v_head.floor END)
    ORDER BY queue, rank, pass, place LIMIT 1;
    IF NOT FOUND THEN
        SELECT greatest(max(last_pass), v_head.floor) INTO v_pass FROM corral.job_lanes
        WHERE queue = p_queue AND rank = p_rank;
    END IF;
    UPDATE corral.job_heads SET floor = least(v_head.next_floor, v_pass), next_floor = v_pass, moved_at = v_now,
        check_at = CASE WHEN v_check THEN v_now + 5 + 100 * (corral.now() - v_now) ELSE check_at END
    WHERE queue = p_queue AND rank = p_rank;
END $$;

-- The passes of jobs that get ready now, in the order given. Locks their lanes.
CREATE FUNCTION corral.take_passes(
    p_queues text[], p_ranks smallint[], p_lanes text[], p_weights double precision[]
) RETURNS double precision[] LANGUAGE plpgsql SET enable_hashjoin = on SET enable_nestloop = off SET enable_sort = on AS $$
DECLARE
    v_passes double precision[];
BEGIN
    WITH arrival AS MATERIALIZED (
        SELECT * FROM unnest(p_queues, p_ranks, p_lanes, p_weights)
            WITH ORDINALITY AS one(queue, rank, lane, weight, ord)
    ), share AS MATERIALIZED (
        SELECT queue, rank, lane, sum(1 / weight) AS step FROM arrival GROUP BY queue, rank, lane
    ), head AS MATERIALIZED (
        SELECT queue, rank, corral.head_pass(queue, rank) AS pass
        FROM (SELECT DISTINCT queue, rank FROM share) AS line
    ), moved AS (
        INSERT INTO corral.job_lanes AS known (queue, rank, lane, last_pass, step, moved_at)
        SELECT queue, rank, lane, pass + step, step, corral.now() FROM share JOIN head USING (queue, rank)
        ORDER BY queue, rank, lane
        ON CONFLICT (queue, rank, lane) DO UPDATE SET
            last_pass = greatest(known.last_pass, excluded.last_pass - excluded.step) + excluded.step,
            step = excluded.step, moved_at = excluded.moved_at
        RETURNING queue, rank, lane, last_pass - step AS base
    )
    SELECT array_agg(base + covered ORDER BY ord) INTO v_passes FROM (
        SELECT ord, queue, rank, lane, sum(1 / weight) OVER (PARTITION BY queue, rank, lane ORDER BY ord) AS covered
        FROM arrival
    ) AS placed JOIN moved USING (queue, rank, lane);
    RETURN v_passes;
END $$;

-- Hold concurrency keys until the transaction ends.
CREATE FUNCTION corral.lock_keys(p_tenants text[], p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_wanted integer;
    v_locked integer;
BEGIN
    SELECT count(*) INTO v_wanted FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_keys)) AS one;
    WHILE v_wanted > 0 LOOP
        INSERT INTO corral.job_slots (tenant, key)
        SELECT DISTINCT tenant, key FROM unnest(p_tenants, p_keys) AS one(tenant, key) ORDER BY tenant, key
        ON CONFLICT DO NOTHING;
        SELECT count(*) INTO v_locked FROM (
            SELECT 1 FROM (SELECT DISTINCT tenant, key FROM unnest(p_tenants, p_keys) AS wanted(tenant, key)) AS one
                JOIN corral.job_slots AS slot ON slot.tenant = one.tenant AND slot.key = one.key
            ORDER BY slot.tenant, slot.key FOR UPDATE OF slot
        ) AS held;
        EXIT WHEN v_locked >= v_wanted;  -- Else one was swept away between the two.
    END LOOP;
END $$;

-- Hold the concurrency keys of jobs, then their rows in the queue.
CREATE FUNCTION corral.lock_jobs(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_tenants text[];
    v_keys text[];
BEGIN
    SELECT array_agg(tenant), array_agg(concurrency_key) INTO v_tenants, v_keys FROM corral.job_queue
    WHERE id = ANY (p_ids) AND concurrency_key IS NOT NULL;
    IF v_keys IS NOT NULL THEN
        PERFORM corral.lock_keys(v_tenants, v_keys);
    END IF;
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
END $$;

-- Hold those of these jobs, and their keys, that nobody else holds; which they are.
CREATE FUNCTION corral.try_lock_jobs(p_ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        WITH free AS MATERIALIZED (
            SELECT slot.tenant, slot.key FROM corral.job_slots AS slot
            WHERE (slot.tenant, slot.key) IN (
                SELECT tenant, concurrency_key FROM corral.job_queue
                WHERE id = ANY (p_ids) AND concurrency_key IS NOT NULL)
            FOR UPDATE SKIP LOCKED
        )
        SELECT id FROM corral.job_queue AS job
        WHERE id = ANY (p_ids) AND (concurrency_key IS NULL OR EXISTS (
            SELECT 1 FROM free WHERE free.tenant = job.tenant AND free.key = job.concurrency_key))
        FOR UPDATE SKIP LOCKED
    );
END $$;

-- Tell idle workers that these queues are about to get work, unless so much is ready already that none can be idle.
CREATE FUNCTION corral.tell_work(p_queues text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_queues text[];
    v_payload text;
BEGIN
    SELECT array_agg(queue ORDER BY queue) INTO v_queues FROM (SELECT DISTINCT queue FROM unnest(p_queues) AS queue) AS one
    WHERE 64 > (
        SELECT sum(ready) FROM corral.job_heads AS head CROSS JOIN LATERAL (
            SELECT count(*) AS ready FROM (
                SELECT 1 FROM corral.job_queue AS job
                WHERE job.queue = head.queue AND job.rank = head.rank AND state = 'queued' AND pass >= head.floor
                ORDER BY queue, rank, pass, place LIMIT 64
            ) AS few
        ) AS counted WHERE head.queue = one.queue
    ) IS NOT FALSE;
    IF v_queues IS NOT NULL THEN
        v_payload := 'w' || to_json(v_queues);
        PERFORM pg_notify('corral_jobs', CASE WHEN octet_length(v_payload) < 8000 THEN v_payload ELSE 'w' END);
    END IF;
END $$;

-- Tell the followers of these jobs that they moved; `j` alone says: look at all you follow.
CREATE FUNCTION corral.tell_jobs(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ids text[];
    v_payload text;
BEGIN
    SELECT array_agg(job_id) INTO v_ids FROM corral.job_follows WHERE job_id = ANY (p_ids);
    IF v_ids IS NOT NULL THEN
        v_payload := 'j' || to_json(v_ids);
        PERFORM pg_notify('corral_jobs', CASE WHEN octet_length(v_payload) < 8000 THEN v_payload ELSE 'j' END);
    END IF;
END $$;

-- THE way to ready: these jobs now, and those that were parked for keys that have slots again. The caller holds the
-- jobs and all keys. One that had its turn before (it has a pass) goes to the front, others to the end of their lane.
CREATE FUNCTION corral.ready_jobs(p_ids text[], p_tenants text[], p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_ids text[];
    v_line record;
    v_next record;
    v_used integer;
    v_victim text;
    v_queues text[];
    v_ranks smallint[];
    v_lanes text[];
    v_weights double precision[];
    v_new text[];
BEGIN
    UPDATE corral.job_queue SET state = 'parked', token = NULL, worker = NULL, lease_until = NULL, run_at = NULL,
        awaits = NULL, ready_at = v_now, aged_at = v_now
    WHERE id = ANY (p_ids) AND concurrency_key IS NOT NULL;
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (p_ids) AND concurrency_key IS NULL);
    FOR v_line IN
        SELECT tenant, key FROM unnest(p_tenants, p_keys) AS freed(tenant, key) WHERE key IS NOT NULL
        UNION SELECT tenant, concurrency_key FROM corral.job_queue
        WHERE id = ANY (p_ids) AND concurrency_key IS NOT NULL
    LOOP
        SELECT count(*) INTO v_used FROM corral.job_queue
        WHERE tenant = v_line.tenant AND concurrency_key = v_line.key AND state IN ('queued', 'running');
        FOR v_next IN
            SELECT id, rank, concurrency_limit FROM corral.job_queue
            WHERE tenant = v_line.tenant AND concurrency_key = v_line.key AND state = 'parked' ORDER BY rank, place
        LOOP
            IF v_used < v_next.concurrency_limit THEN
                v_used := v_used + 1;
            ELSE
                SELECT id INTO v_victim FROM corral.job_queue
                WHERE tenant = v_line.tenant AND concurrency_key = v_line.key AND state = 'queued'
                  AND rank > v_next.rank ORDER BY rank DESC, place DESC LIMIT 1 FOR UPDATE SKIP LOCKED;
                EXIT WHEN NOT FOUND;
                UPDATE corral.job_queue SET state = 'parked' WHERE id = v_victim;
            END IF;
            v_ids := v_ids || v_next.id;
        END LOOP;
    END LOOP;
    IF cardinality(v_ids) = 0 THEN
        RETURN;
    END IF;
    PERFORM corral.tell_work(ARRAY(SELECT queue FROM corral.job_queue WHERE id = ANY (v_ids)));
    UPDATE corral.job_queue SET state = 'queued', token = NULL, worker = NULL, lease_until = NULL, run_at = NULL,
        awaits = NULL, ready_at = v_now, aged_at = v_now, pass = greatest(pass, corral.head_pass(queue, rank))
    WHERE id = ANY (v_ids) AND pass IS NOT NULL;
    SELECT array_agg(id ORDER BY place), array_agg(queue ORDER BY place), array_agg(rank ORDER BY place),
        array_agg(lane ORDER BY place), array_agg(weight ORDER BY place)
    INTO v_new, v_queues, v_ranks, v_lanes, v_weights FROM corral.job_queue WHERE id = ANY (v_ids) AND pass IS NULL;
    IF v_new IS NOT NULL THEN
        UPDATE corral.job_queue AS job SET state = 'queued', token = NULL, worker = NULL, lease_until = NULL,
            run_at = NULL, awaits = NULL, ready_at = v_now, aged_at = v_now, pass = placed.pass
        FROM unnest(v_new, corral.take_passes(v_queues, v_ranks, v_lanes, v_weights)) AS placed(id, pass)
        WHERE job.id = placed.id;
    END IF;
    PERFORM corral.tell_jobs(v_ids);
END $$;

-- Make ready whose time has come.
CREATE FUNCTION corral.ready_due(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_ids text[];
BEGIN
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE run_at <= v_now ORDER BY run_at LIMIT p_limit);
    IF cardinality(v_ids) = 0 THEN
        RETURN 0;
    END IF;
    v_ids := corral.try_lock_jobs(v_ids);
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (v_ids) AND run_at <= v_now);
    PERFORM corral.ready_jobs(v_ids, '{}', '{}');
    RETURN cardinality(v_ids);
END $$;

-- -- enqueueing ------------------------------------------------------------------------------------------------------

-- Enqueue drafts in order, or none: `refused` says why. One whose idempotency key is known names the earlier job.
CREATE FUNCTION corral.enqueue_jobs(
    p_ids text[], p_tenants text[], p_agents text[], p_queues text[], p_sessions text[], p_users text[],
    p_batches text[], p_tags text[], p_ranks smallint[], p_lanes text[], p_weights double precision[],
    p_keys text[], p_limits integer[], p_max_attempts integer[], p_run_at double precision[],
    p_delays double precision[], p_deadlines double precision[], p_specs bytea[], p_callbacks bytea[],
    p_inputs bytea[], p_dedupe_keys text[], p_fingerprints text[], p_dedupe_s double precision[]
) RETURNS TABLE (o_refused text, o_id text, o_is_new boolean, o_state text) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_known boolean := false;
    v_as text[] := p_ids;
    v_fresh text[];
BEGIN
    IF EXISTS (
        SELECT 1 FROM unnest(p_ids, p_tenants) AS one(id, tenant) JOIN corral.job_queue AS job ON job.id = one.id
        WHERE job.tenant <> one.tenant
    ) THEN
        RETURN QUERY SELECT 'taken', NULL::text, NULL::boolean, NULL::text;
        RETURN;
    END IF;
    IF p_dedupe_keys IS NOT NULL THEN
        IF EXISTS (
            SELECT 1 FROM unnest(p_tenants, p_dedupe_keys, p_fingerprints) AS one(tenant, key, fingerprint)
                JOIN corral.job_dedupe AS known ON known.tenant = one.tenant AND known.key = one.key
            WHERE known.expires_at > v_now AND known.fingerprint <> one.fingerprint
        ) OR EXISTS (
            SELECT 1 FROM unnest(p_tenants, p_dedupe_keys, p_fingerprints) AS one(tenant, key, fingerprint)
            WHERE key IS NOT NULL GROUP BY tenant, key HAVING min(fingerprint) <> max(fingerprint)
        ) THEN
            RETURN QUERY SELECT 'reused', NULL::text, NULL::boolean, NULL::text;
            RETURN;
        END IF;
        WITH taken AS (
            INSERT INTO corral.job_dedupe AS known (tenant, key, fingerprint, job_id, expires_at)
            SELECT DISTINCT ON (tenant, key) tenant, key, fingerprint, id, v_now + keep_s
            FROM unnest(p_tenants, p_dedupe_keys, p_fingerprints, p_ids, p_dedupe_s)
                WITH ORDINALITY AS one(tenant, key, fingerprint, id, keep_s, ord)
            WHERE key IS NOT NULL ORDER BY tenant, key, ord
            ON CONFLICT (tenant, key) DO UPDATE SET
                fingerprint = CASE WHEN known.expires_at > v_now THEN known.fingerprint ELSE excluded.fingerprint END,
                job_id = CASE WHEN known.expires_at > v_now THEN known.job_id ELSE excluded.job_id END,
                expires_at = CASE WHEN known.expires_at > v_now THEN known.expires_at ELSE excluded.expires_at END
            RETURNING tenant, key, fingerprint, job_id
        )
        SELECT array_agg(coalesce(job_id, id) ORDER BY ord),
            coalesce(bool_or(taken.fingerprint <> one.fingerprint), false)
        INTO v_as, v_known
        FROM unnest(p_tenants, p_dedupe_keys, p_fingerprints, p_ids)
            WITH ORDINALITY AS one(tenant, key, fingerprint, id, ord)
            LEFT JOIN taken ON taken.tenant = one.tenant AND taken.key = one.key;
        IF v_known THEN
            RAISE EXCEPTION 'idempotency key reused' USING ERRCODE = 'CR422';  -- By a neighbour, in this moment.
        END IF;
    END IF;

    -- The usual batch gets its passes first and is written once; one with times to wait for, keys or doubles is
    -- written as it is and made ready then.
    IF p_keys IS NULL AND p_run_at IS NULL AND p_delays IS NULL AND p_dedupe_keys IS NULL THEN
        BEGIN
            INSERT INTO corral.jobs (tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane, weight,
                concurrency_limit, max_attempts, created_at, deadline_at, spec, callback, input)
            SELECT tenant, id, agent, queue, session_id, user_id, batch_id, tags, 10 - rank, lane, weight,
                key_limit, max_attempts, v_now, v_now + deadline_s, spec, callback, input
            FROM unnest(p_ids, p_tenants, p_agents, p_queues, p_sessions, p_users, p_batches, p_tags, p_ranks, p_lanes,
                p_weights, p_limits, p_max_attempts, p_deadlines, p_specs, p_callbacks, p_inputs)
                AS one(id, tenant, agent, queue, session_id, user_id, batch_id, tags, rank, lane,
                    weight, key_limit, max_attempts, deadline_s, spec, callback, input);
            PERFORM corral.tell_work(p_queues);
            INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, state, weight, pass, ready_at, aged_at,
                deadline_at, concurrency_limit, max_attempts, rank)
            SELECT id, tenant, queue, agent, lane, 'queued', weight, pass, v_now, v_now,
                v_now + deadline_s, key_limit, max_attempts, rank
            FROM unnest(p_ids, p_tenants, p_queues, p_agents, p_lanes, p_weights,
                corral.take_passes(p_queues, p_ranks, p_lanes, p_weights), p_deadlines, p_limits, p_max_attempts, p_ranks)
                AS one(id, tenant, queue, agent, lane, weight, pass, deadline_s, key_limit, max_attempts, rank);
            RETURN QUERY SELECT NULL::text, NULL::text, true, 'queued';
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- Some are here already: one by one, then.
        END;
    END IF;

    WITH fresh AS (
        INSERT INTO corral.jobs (tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane, weight,
            concurrency_key, concurrency_limit, max_attempts, created_at, deadline_at, spec, callback, input)
        SELECT tenant, id, agent, queue, session_id, user_id, batch_id, tags, 10 - rank, lane, weight,
            key, key_limit, max_attempts, v_now, v_now + deadline_s, spec, callback, input
        FROM unnest(p_ids, p_tenants, p_agents, p_queues, p_sessions, p_users, p_batches, p_tags, p_ranks, p_lanes,
            p_weights, p_keys, p_limits, p_max_attempts, p_deadlines, p_specs, p_callbacks, p_inputs, v_as)
            AS one(id, tenant, agent, queue, session_id, user_id, batch_id, tags, rank, lane,
                weight, key, key_limit, max_attempts, deadline_s, spec, callback, input, known_as)
        WHERE known_as = id
        ON CONFLICT DO NOTHING RETURNING id
    ) SELECT array_agg(id) INTO v_fresh FROM fresh;
    INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, concurrency_key, state, weight, run_at,
        deadline_at, concurrency_limit, max_attempts, rank)
    SELECT id, tenant, queue, agent, lane, key, 'scheduled', weight, coalesce(run_at, v_now + delay_s),
        v_now + deadline_s, key_limit, max_attempts, rank
    FROM unnest(p_ids, p_tenants, p_queues, p_agents, p_lanes, p_keys, p_weights, p_run_at, p_delays,
        p_deadlines, p_limits, p_max_attempts, p_ranks)
        WITH ORDINALITY AS one(id, tenant, queue, agent, lane, key, weight, run_at, delay_s,
            deadline_s, key_limit, max_attempts, rank, ord)
    WHERE id IN (SELECT unnest(v_fresh)) ORDER BY ord
    ON CONFLICT DO NOTHING;  -- One id twice in a batch.
    -- Who waits for the next job that is due must hear of one that is due before it looks again by itself.
    PERFORM corral.tell_work(array_agg(queue)) FROM corral.job_queue
    WHERE id = ANY (v_fresh) AND run_at > v_now AND run_at < v_now + 2 HAVING count(*) > 0;
    v_fresh := coalesce(v_fresh, '{}');
    PERFORM corral.lock_keys(array_agg(tenant), array_agg(concurrency_key)) FROM corral.job_queue
    WHERE id = ANY (v_fresh) AND concurrency_key IS NOT NULL HAVING count(*) > 0;
    PERFORM corral.ready_jobs(
        ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (v_fresh) AND coalesce(run_at, 0) <= v_now), '{}', '{}');
    RETURN QUERY
        SELECT NULL::text, one.known_as, one.known_as = one.id AND one.id = ANY (v_fresh)
                AND row_number() OVER (PARTITION BY one.id ORDER BY ord) = 1,
            coalesce(CASE job.state WHEN 'parked' THEN 'queued' ELSE job.state END, ended.state, 'succeeded')
        FROM unnest(p_ids, v_as, p_tenants) WITH ORDINALITY AS one(id, known_as, tenant, ord)
            LEFT JOIN corral.job_queue AS job ON job.id = one.known_as
            LEFT JOIN corral.jobs AS ended ON ended.tenant = one.tenant AND ended.id = one.known_as
        ORDER BY ord;
END $$;

-- -- running ---------------------------------------------------------------------------------------------------------

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
    o_next_due_s := greatest(0, v_next - v_now);
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
        WHERE job.id = one.id AND job.token = one.token AND job.state = 'running'
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
            WHERE held.id = one.id AND held.token = one.token AND held.state = 'running' FOR UPDATE
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
        LEFT JOIN corral.job_queue AS job ON job.id = one.id AND job.token = one.token AND job.state = 'running';
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
        ON job.id = one.id AND job.token = one.token AND job.state = 'running';
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

-- Cancel these jobs: what runs is asked to stop. Those that were open.
CREATE FUNCTION corral.cancel_jobs(p_tenant text, p_ids text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_open text[];
    v_idle text[];
    v_tenants text[];
    v_keys text[];
BEGIN
    PERFORM corral.lock_jobs(p_ids);
    UPDATE corral.job_queue SET cancel_requested = true
    WHERE id = ANY (p_ids) AND tenant = p_tenant AND state = 'running' AND NOT cancel_requested;
    SELECT array_agg(id ORDER BY id DESC), array_agg(id) FILTER (WHERE state <> 'running'),
        array_agg(tenant) FILTER (WHERE state <> 'running' AND concurrency_key IS NOT NULL),
        array_agg(concurrency_key) FILTER (WHERE state <> 'running' AND concurrency_key IS NOT NULL)
    INTO v_open, v_idle, v_tenants, v_keys FROM corral.job_queue WHERE id = ANY (p_ids) AND tenant = p_tenant;
    IF v_open IS NULL THEN
        RETURN;
    END IF;
    IF v_idle IS NOT NULL THEN
        PERFORM corral.end_jobs(v_idle, array_fill('cancelled'::text, ARRAY[cardinality(v_idle)]), NULL, NULL, NULL);
        PERFORM corral.ready_jobs('{}', coalesce(v_tenants, '{}'), coalesce(v_keys, '{}'));
    END IF;
    PERFORM corral.tell_jobs(v_open);
    RETURN QUERY SELECT unnest(v_open);
END $$;

-- Have these failed jobs, and cancelled ones where that was said, run again from their journal.
CREATE FUNCTION corral.redrive_jobs(p_tenant text, p_ids text[], p_states text[], p_input bytea)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_ids text[];
BEGIN
    v_ids := ARRAY(
        SELECT id FROM corral.jobs WHERE tenant = p_tenant AND id = ANY (p_ids) AND state = ANY (p_states)
        ORDER BY id FOR UPDATE);
    IF p_input IS NOT NULL THEN
        DELETE FROM corral.job_steps WHERE job_id = ANY (v_ids);
    END IF;
    UPDATE corral.jobs SET state = NULL, dead = false, finished_at = NULL, error = NULL, result = NULL, ended_by = NULL,
        failures = 0, input = coalesce(p_input, input), deadline_at = v_now + (deadline_at - created_at)
    WHERE tenant = p_tenant AND id = ANY (v_ids);
    PERFORM corral.lock_keys(array_agg(tenant), array_agg(concurrency_key)) FROM corral.jobs
    WHERE tenant = p_tenant AND id = ANY (v_ids) AND concurrency_key IS NOT NULL HAVING count(*) > 0;
    INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, concurrency_key, state, weight, last_seq, deadline_at,
        started_at, concurrency_limit, attempt, max_attempts, rank, has_journal, progress)
    SELECT id, tenant, queue, agent, lane, concurrency_key, 'scheduled', weight, last_seq, deadline_at,
        started_at, concurrency_limit, attempt, max_attempts, 10 - priority,
        EXISTS (SELECT 1 FROM corral.job_steps AS step WHERE step.job_id = kept.id), progress
    FROM corral.jobs AS kept WHERE tenant = p_tenant AND id = ANY (v_ids) ORDER BY id;
    PERFORM corral.ready_jobs(v_ids, '{}', '{}');
    RETURN QUERY SELECT unnest(v_ids);
END $$;

-- -- sweeping --------------------------------------------------------------------------------------------------------

-- Take away what was lost, and give up what is too late.
CREATE FUNCTION corral.reap_jobs(p_limit integer, p_lost bytea, p_late bytea)
RETURNS TABLE (o_requeued integer, o_failed integer, o_cancelled integer) LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_ids text[];
    v_ready text[];
    v_over text[];
    v_states text[];
    v_errors bytea[];
    v_tenants text[];
    v_keys text[];
BEGIN
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE state = 'running' AND lease_until <= v_now
            ORDER BY lease_until LIMIT p_limit)
        || ARRAY(SELECT id FROM corral.job_queue WHERE deadline_at <= v_now AND state <> 'running'
            ORDER BY deadline_at LIMIT p_limit);
    IF cardinality(v_ids) > 0 THEN
        v_ids := corral.try_lock_jobs(v_ids);
        v_ids := ARRAY(
            SELECT id FROM corral.job_queue
            WHERE id = ANY (v_ids) AND CASE state WHEN 'running' THEN lease_until ELSE deadline_at END <= v_now);
    END IF;
    INSERT INTO corral.job_attempts (job_id, attempt, worker, started_at, ended_at, error)
    SELECT id, attempt, worker, started_at, v_now, p_lost FROM corral.job_queue
    WHERE id = ANY (v_ids) AND state = 'running' ON CONFLICT DO NOTHING;
    UPDATE corral.job_queue SET failures = failures + 1 WHERE id = ANY (v_ids) AND state = 'running';
    SELECT array_agg(tenant), array_agg(concurrency_key) INTO v_tenants, v_keys
    FROM corral.job_queue WHERE id = ANY (v_ids) AND concurrency_key IS NOT NULL;
    SELECT array_agg(id) FILTER (WHERE becomes IS NULL), array_agg(id) FILTER (WHERE becomes IS NOT NULL),
        array_agg(becomes) FILTER (WHERE becomes IS NOT NULL), array_agg(error) FILTER (WHERE becomes IS NOT NULL)
    INTO v_ready, v_over, v_states, v_errors
    FROM (
        SELECT id, CASE
                WHEN cancel_requested THEN 'cancelled'
                WHEN deadline_at <= v_now OR failures >= max_attempts THEN 'failed' END AS becomes,
            CASE WHEN cancel_requested THEN NULL WHEN deadline_at <= v_now THEN p_late
                WHEN failures >= max_attempts THEN p_lost END AS error
        FROM corral.job_queue WHERE id = ANY (v_ids)
    ) AS job;
    IF v_over IS NOT NULL THEN
        PERFORM corral.end_jobs(v_over, v_states, NULL, v_errors, NULL);
    END IF;
    UPDATE corral.job_queue SET state = 'scheduled', token = NULL WHERE id = ANY (v_ready);
    PERFORM corral.ready_jobs(coalesce(v_ready, '{}'), coalesce(v_tenants, '{}'), coalesce(v_keys, '{}'));
    o_requeued := coalesce(cardinality(v_ready), 0);
    o_failed := coalesce(cardinality(array_remove(v_states, 'cancelled')), 0);
    o_cancelled := coalesce(cardinality(v_states), 0) - o_failed;
    RETURN NEXT;
END $$;

-- Move up by one rank who waited at the head of a rank, or parked, for `p_ageing_s`.
CREATE FUNCTION corral.age_jobs(p_limit integer, p_ageing_s double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_line record;
    v_ids text[] := '{}';
    v_queues text[];
    v_ranks smallint[];
    v_lanes text[];
    v_weights double precision[];
    v_aged integer;
BEGIN
    FOR v_line IN
        WITH RECURSIVE line(queue, rank) AS (
            (SELECT queue, rank FROM corral.job_queue WHERE state = 'queued' ORDER BY queue, rank, pass, place LIMIT 1)
            UNION ALL
            SELECT next.queue, next.rank FROM line CROSS JOIN LATERAL (
                SELECT queue, rank FROM corral.job_queue AS job
                WHERE state = 'queued' AND (job.queue, job.rank) > (line.queue, line.rank)
                ORDER BY queue, rank, pass, place LIMIT 1
            ) AS next
        ) SELECT queue, rank FROM line WHERE rank > 0
    LOOP
        v_ids := v_ids || ARRAY(
            SELECT id FROM (
                SELECT id, aged_at FROM corral.job_queue
                WHERE queue = v_line.queue AND rank = v_line.rank AND state = 'queued'
                ORDER BY pass, place LIMIT p_limit
            ) AS head WHERE aged_at <= v_now - p_ageing_s LIMIT p_limit - cardinality(v_ids));
    END LOOP;
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (v_ids) AND state = 'queued' FOR UPDATE SKIP LOCKED);
    SELECT array_agg(id ORDER BY place), array_agg(queue ORDER BY place), array_agg(rank - 1 ORDER BY place),
        array_agg(lane ORDER BY place), array_agg(weight ORDER BY place)
    INTO v_ids, v_queues, v_ranks, v_lanes, v_weights FROM corral.job_queue WHERE id = ANY (v_ids) AND state = 'queued';
    IF v_ids IS NOT NULL THEN
        UPDATE corral.job_queue AS job SET rank = job.rank - 1, aged_at = v_now, pass = placed.pass
        FROM unnest(v_ids, corral.take_passes(v_queues, v_ranks, v_lanes, v_weights)) AS placed(id, pass)
        WHERE job.id = placed.id;
    END IF;
    WITH parked AS (
        UPDATE corral.job_queue SET rank = greatest(0, rank - 1), aged_at = v_now WHERE id IN (
            SELECT id FROM corral.job_queue WHERE state = 'parked' AND aged_at <= v_now - p_ageing_s
            ORDER BY aged_at LIMIT p_limit FOR UPDATE SKIP LOCKED) RETURNING 1
    ) SELECT count(*) INTO v_aged FROM parked;
    RETURN v_aged + coalesce(cardinality(v_ids), 0);
END $$;

-- Remove what nobody needs any more: answers to idempotency keys, dead workers, idle lanes, unused keys, old follows.
CREATE FUNCTION corral.tidy_jobs(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_gone integer := 0;
    v_count integer;
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
    DELETE FROM corral.job_slots WHERE (tenant, key) IN (
        SELECT tenant, key FROM corral.job_slots AS slot WHERE NOT EXISTS (
            SELECT 1 FROM corral.job_queue AS job
            WHERE job.tenant = slot.tenant AND job.concurrency_key = slot.key)
        LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_gone := v_gone + v_count;
    DELETE FROM corral.job_follows WHERE job_id IN (
        SELECT job_id FROM corral.job_follows WHERE expires_at <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
    RETURN v_gone;
END $$;

-- Remove ended jobs of before `p_before`: days that are over as a whole, unless one of their jobs is still open; else
-- job by job. A day that is over only in part stays until it is over, so that it can go as a whole.
CREATE FUNCTION corral.forget_jobs(p_before double precision, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_today bigint := floor(corral.now() / 86400);
    v_day bigint;
    v_gone integer := 0;
    v_table text;
    v_part record;
    v_rows integer;
    v_tenants text[];
    v_ids text[];
BEGIN
    FOR v_part IN
        SELECT relname, nullif(substr(relname, 6), 'default')::bigint AS day
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'corral.jobs'::regclass ORDER BY day
    LOOP
        v_day := v_part.day;
        CONTINUE WHEN v_day * 86400.0 > p_before OR v_day > v_today;
        EXIT WHEN v_gone >= p_limit;
        IF v_day < v_today AND (v_day + 1) * 86400.0 > p_before THEN
            CONTINUE;
        END IF;
        IF v_day < v_today AND NOT EXISTS (
            SELECT 1 FROM corral.job_queue
            WHERE id >= corral.id_at(v_day * 86400.0) AND id < corral.id_at((v_day + 1) * 86400.0)
        ) THEN
            BEGIN
                PERFORM set_config('lock_timeout', '200ms', true);
                EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM corral.%I LIMIT 1) AS one', v_part.relname)
                INTO v_rows;
                FOREACH v_table IN ARRAY ARRAY['jobs', 'job_steps', 'job_events', 'job_attempts'] LOOP
                    EXECUTE format('DROP TABLE corral.%I', v_table || '_' || v_day);
                END LOOP;
                DELETE FROM corral.blobs
                WHERE name >= corral.id_at(v_day * 86400.0) AND name < corral.id_at((v_day + 1) * 86400.0);
                DELETE FROM corral.job_outbox
                WHERE job_id >= corral.id_at(v_day * 86400.0) AND job_id < corral.id_at((v_day + 1) * 86400.0);
                v_gone := v_gone + v_rows;
                CONTINUE;
            EXCEPTION WHEN lock_not_available OR insufficient_privilege OR undefined_table THEN
                NULL;  -- Busy, or not ours to drop: job by job, then.
            END;
            PERFORM set_config('lock_timeout', '0', true);
        END IF;
        EXECUTE format(
            'SELECT array_agg(tenant), array_agg(id) FROM (SELECT tenant, id FROM corral.%I WHERE state IS NOT NULL '
            'AND created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED) AS old', v_part.relname)
        INTO v_tenants, v_ids USING p_before, p_limit - v_gone;
        CONTINUE WHEN v_ids IS NULL;
        DELETE FROM corral.blobs USING unnest(v_tenants, v_ids) AS gone(tenant, id)
        WHERE name >= gone.id || '/' AND name < gone.id || '0' AND blobs.tenant = gone.tenant;
        DELETE FROM corral.job_steps WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_events WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_attempts WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_outbox WHERE job_id = ANY (v_ids);
        DELETE FROM corral.jobs WHERE id = ANY (v_ids) AND tenant = ANY (v_tenants);
        v_gone := v_gone + cardinality(v_ids);
    END LOOP;
    DELETE FROM corral.job_batches AS batch WHERE created_at < p_before AND NOT EXISTS (
        SELECT 1 FROM corral.jobs AS job WHERE job.tenant = batch.tenant AND job.batch_id = batch.id);
    PERFORM corral.make_job_days(7) WHERE corral.missing_job_days(7) > 0;
    RETURN v_gone;
END $$;

-- Plans are made when tables are small and live as long as a connection: they must not count on that.
DO $$
DECLARE
    v_function text;
BEGIN
    FOREACH v_function IN ARRAY ARRAY['head_pass', 'raise_head', 'lock_keys', 'lock_jobs', 'try_lock_jobs', 'tell_work', 'tell_jobs',
        'ready_jobs', 'ready_due', 'claimed_jobs', 'claim_jobs', 'claimed_by_call', 'renew_jobs', 'end_jobs',
        'settle_jobs', 'let_go_jobs', 'journal_steps', 'emit_events', 'signal_job', 'cancel_jobs', 'reap_jobs',
        'age_jobs']
    LOOP
        EXECUTE format('ALTER FUNCTION corral.%I SET plan_cache_mode = force_generic_plan', v_function);
        EXECUTE format('ALTER FUNCTION corral.%I SET enable_seqscan = off', v_function);
        EXECUTE format('ALTER FUNCTION corral.%I SET enable_bitmapscan = off', v_function);
        EXECUTE format('ALTER FUNCTION corral.%I SET enable_hashjoin = off', v_function);
        EXECUTE format('ALTER FUNCTION corral.%I SET enable_mergejoin = off', v_function);
        EXECUTE format('ALTER FUNCTION corral.%I SET enable_sort = off', v_function);
    END LOOP;
END $$;

-- Enqueue the drafts and move a schedule on, if it is still as it was read, or if this very call did so before.
CREATE FUNCTION corral.fire_schedule(
    p_tenant text, p_name text, p_was_at double precision, p_rule bytea, p_next_at double precision, p_call text,
    p_ids text[], p_tenants text[], p_agents text[], p_queues text[], p_sessions text[], p_users text[],
    p_batches text[], p_tags text[], p_ranks smallint[], p_lanes text[], p_weights double precision[],
    p_keys text[], p_limits integer[], p_max_attempts integer[], p_run_at double precision[],
    p_delays double precision[], p_deadlines double precision[], p_specs bytea[], p_callbacks bytea[],
    p_inputs bytea[], p_dedupe_keys text[], p_fingerprints text[], p_dedupe_s double precision[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_schedule corral.job_schedules;
    v_refused text;
BEGIN
    SELECT * INTO v_schedule FROM corral.job_schedules WHERE tenant = p_tenant AND name = p_name FOR UPDATE;
    IF v_schedule.fired = p_call THEN
        RETURN 'fired';
    ELSIF v_schedule.name IS NULL OR v_schedule.paused OR v_schedule.next_at IS DISTINCT FROM p_was_at
        OR v_schedule.rule <> p_rule THEN
        RETURN 'moved';
    END IF;
    IF cardinality(p_ids) > 0 THEN
        SELECT o_refused INTO v_refused FROM corral.enqueue_jobs(
            p_ids, p_tenants, p_agents, p_queues, p_sessions, p_users, p_batches, p_tags, p_ranks, p_lanes, p_weights,
            p_keys, p_limits, p_max_attempts, p_run_at, p_delays, p_deadlines, p_specs, p_callbacks, p_inputs,
            p_dedupe_keys, p_fingerprints, p_dedupe_s);
        IF v_refused IS NOT NULL THEN
            RETURN v_refused;
        END IF;
    END IF;
    UPDATE corral.job_schedules SET last_at = next_at, next_at = p_next_at, fired = p_call
    WHERE tenant = p_tenant AND name = p_name;
    RETURN 'fired';
END $$;
