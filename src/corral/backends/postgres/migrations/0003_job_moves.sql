-- How jobs move. What is decided here is decided under locks, in one round trip for as many jobs as there are.
-- Who looks for jobs by id must not say what an index of some rows says (`state = 'running'`): with figures of a quiet
-- minute that index looks smaller than the primary key, and is read whole for each id. So: a job runs while it has a
-- token, and `coalesce` keeps the other indexes out.

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
    WHERE id = ANY (p_ids) AND coalesce(concurrency_key, '') <> '';
    IF v_keys IS NOT NULL THEN
        PERFORM corral.lock_keys(v_tenants, v_keys);
    END IF;
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
END $$;

-- Hold those of these jobs, and their keys, that nobody else holds; which they are.
CREATE FUNCTION corral.try_lock_jobs(p_ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    -- A key whose row is gone would keep its jobs from everybody who only tries.
    INSERT INTO corral.job_slots (tenant, key)
    SELECT DISTINCT tenant, concurrency_key FROM corral.job_queue AS job
    WHERE id = ANY (p_ids) AND coalesce(concurrency_key, '') <> '' AND NOT EXISTS (
        SELECT 1 FROM corral.job_slots AS slot WHERE slot.tenant = job.tenant AND slot.key = job.concurrency_key)
    ORDER BY tenant, concurrency_key ON CONFLICT DO NOTHING;
    RETURN ARRAY(
        WITH free AS MATERIALIZED (
            SELECT slot.tenant, slot.key FROM corral.job_slots AS slot
            WHERE (slot.tenant, slot.key) IN (
                SELECT tenant, concurrency_key FROM corral.job_queue
                WHERE id = ANY (p_ids) AND coalesce(concurrency_key, '') <> '')
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
    WHERE id = ANY (p_ids) AND coalesce(concurrency_key, '') <> '';
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (p_ids) AND concurrency_key IS NULL);
    FOR v_line IN
        SELECT tenant, key FROM unnest(p_tenants, p_keys) AS freed(tenant, key) WHERE key IS NOT NULL
        UNION SELECT tenant, concurrency_key FROM corral.job_queue
        WHERE id = ANY (p_ids) AND coalesce(concurrency_key, '') <> ''
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
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (v_ids) AND coalesce(run_at, 'Infinity') <= v_now);
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
    WHERE id = ANY (v_fresh) AND coalesce(run_at, 0) BETWEEN v_now AND v_now + 2 HAVING count(*) > 0;
    v_fresh := coalesce(v_fresh, '{}');
    PERFORM corral.lock_keys(array_agg(tenant), array_agg(concurrency_key)) FROM corral.job_queue
    WHERE id = ANY (v_fresh) AND coalesce(concurrency_key, '') <> '' HAVING count(*) > 0;
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
