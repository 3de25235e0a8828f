-- What people do with jobs, and what is swept.

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
    WHERE id = ANY (p_ids) AND tenant = p_tenant AND token IS NOT NULL AND NOT cancel_requested;
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

-- Have these failed jobs, and cancelled ones where that was said, run again from their journal. `jobs` keeps the first
-- deadline: from it and `created_at` is known how much time a job was given.
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
        failures = 0, input = coalesce(p_input, input)
    WHERE tenant = p_tenant AND id = ANY (v_ids);
    PERFORM corral.lock_keys(array_agg(tenant), array_agg(concurrency_key)) FROM corral.jobs
    WHERE tenant = p_tenant AND id = ANY (v_ids) AND coalesce(concurrency_key, '') <> '' HAVING count(*) > 0;
    INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, concurrency_key, state, weight, last_seq, deadline_at,
        started_at, concurrency_limit, attempt, max_attempts, rank, has_journal, progress)
    SELECT id, tenant, queue, agent, lane, concurrency_key, 'scheduled', weight, last_seq,
        v_now + (deadline_at - created_at), started_at, concurrency_limit, attempt, max_attempts, 10 - priority,
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
    WHERE id = ANY (v_ids) AND token IS NOT NULL ON CONFLICT DO NOTHING;
    UPDATE corral.job_queue SET failures = failures + 1 WHERE id = ANY (v_ids) AND token IS NOT NULL;
    SELECT array_agg(tenant), array_agg(concurrency_key) INTO v_tenants, v_keys
    FROM corral.job_queue WHERE id = ANY (v_ids) AND coalesce(concurrency_key, '') <> '';
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

-- Move up by one rank who waited at the head of a rank, or parked, for `p_ageing_s`. A job that came while the idle head of
-- its queue was being swept away gets a new one.
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
        ) SELECT queue, rank FROM line
    LOOP
        IF NOT EXISTS (SELECT 1 FROM corral.job_heads AS head WHERE head.queue = v_line.queue AND head.rank = v_line.rank) THEN
            INSERT INTO corral.job_heads (queue, rank) VALUES (v_line.queue, v_line.rank) ON CONFLICT DO NOTHING;
        END IF;
        CONTINUE WHEN v_line.rank = 0;
        v_ids := v_ids || ARRAY(
            SELECT id FROM (
                SELECT id, aged_at FROM corral.job_queue
                WHERE queue = v_line.queue AND rank = v_line.rank AND state = 'queued'
                ORDER BY pass, place LIMIT p_limit
            ) AS head WHERE aged_at <= v_now - p_ageing_s LIMIT p_limit - cardinality(v_ids));
    END LOOP;
    v_ids := ARRAY(SELECT id FROM corral.job_queue WHERE id = ANY (v_ids) AND state <> ALL (ARRAY['parked', 'scheduled', 'running', 'waiting']) FOR UPDATE SKIP LOCKED);
    SELECT array_agg(id ORDER BY place), array_agg(queue ORDER BY place), array_agg(rank - 1 ORDER BY place),
        array_agg(lane ORDER BY place), array_agg(weight ORDER BY place)
    INTO v_ids, v_queues, v_ranks, v_lanes, v_weights FROM corral.job_queue WHERE id = ANY (v_ids) AND state <> ALL (ARRAY['parked', 'scheduled', 'running', 'waiting']);
    IF v_ids IS NOT NULL THEN
        UPDATE corral.job_queue AS job SET rank = job.rank - 1, aged_at = v_now, pass = placed.pass
        FROM unnest(v_ids, corral.take_passes(v_queues, v_ranks, v_lanes, v_weights)) AS placed(id, pass)
        WHERE job.id = placed.id;
    END IF;
    WITH parked AS (
        UPDATE corral.job_queue AS job SET rank = greatest(0, old.rank - 1),
            aged_at = CASE WHEN old.rank > 1 THEN v_now ELSE 'Infinity' END  -- Who cannot rise is looked at no more.
        FROM (
            SELECT id, rank FROM corral.job_queue WHERE state = 'parked' AND aged_at <= v_now - p_ageing_s
            ORDER BY aged_at LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS old WHERE job.id = old.id RETURNING old.rank
    ) SELECT count(*) FILTER (WHERE rank > 0) INTO v_aged FROM parked;
    RETURN v_aged + coalesce(cardinality(v_ids), 0);
END $$;

-- Remove what nobody needs any more: answers to idempotency keys, dead workers, idle lanes and heads, unused keys, old
-- follows.
CREATE FUNCTION corral.tidy_jobs(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_gone integer := 0;
    v_count integer;
    v_share real;
    v_tenants text[];
    v_keys text[];
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
    DELETE FROM corral.job_heads WHERE (queue, rank) IN (
        SELECT queue, rank FROM corral.job_heads AS head
        WHERE NOT EXISTS (SELECT 1 FROM corral.job_lanes AS lane WHERE lane.queue = head.queue AND lane.rank = head.rank)
          AND NOT EXISTS (
            SELECT 1 FROM corral.job_queue AS job
            WHERE job.queue = head.queue AND job.rank = head.rank AND state = 'queued')
        LIMIT p_limit FOR UPDATE SKIP LOCKED);
    DELETE FROM corral.job_follows WHERE job_id IN (
        SELECT job_id FROM corral.job_follows WHERE expires_at <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
    RETURN v_gone;
END $$;

-- Drop the first day that was over before `p_before` and has no open job, nor a callback to be sent still; 1, or 0 where nothing was left of it, or none
-- when there is no such day. One at a time, because nobody can use the tables until this is committed.
CREATE FUNCTION corral.forget_day(p_before double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_last bigint := floor(least(p_before, corral.now()) / 86400) - 1;
    v_day bigint;
    v_first text;
    v_end text;
    v_table text;
    v_rows integer;
BEGIN
    SELECT min(day) INTO v_day FROM (
        SELECT nullif(substr(relname, 6), 'default')::bigint AS day
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'corral.jobs'::regclass
    ) AS part WHERE day <= v_last AND NOT EXISTS (
        SELECT 1 FROM corral.job_queue
        WHERE id >= corral.id_at(day * 86400.0) AND id < corral.id_at((day + 1) * 86400.0)
    ) AND NOT EXISTS (
        SELECT 1 FROM corral.job_outbox
        WHERE job_id >= corral.id_at(day * 86400.0) AND job_id < corral.id_at((day + 1) * 86400.0)
          AND status = 'pending' AND created_at >= p_before);
    IF v_day IS NULL THEN
        RETURN NULL;
    END IF;
    v_first := corral.id_at(v_day * 86400.0);
    v_end := corral.id_at((v_day + 1) * 86400.0);
    EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM corral.jobs_%s LIMIT 1) AS one', v_day) INTO v_rows;
    DELETE FROM corral.blobs WHERE name >= v_first AND name < v_end;
    DELETE FROM corral.job_outbox WHERE job_id >= v_first AND job_id < v_end;
    PERFORM set_config('lock_timeout', '200ms', true);
    LOCK TABLE ONLY corral.jobs IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT 1 FROM corral.job_queue WHERE id >= v_first AND id < v_end) THEN
        RAISE lock_not_available;  -- Somebody had one of them run again.
    END IF;
    FOREACH v_table IN ARRAY ARRAY['jobs', 'job_steps', 'job_events', 'job_attempts'] LOOP
        EXECUTE format('DROP TABLE corral.%I', v_table || '_' || v_day);
    END LOOP;
    RETURN v_rows;
EXCEPTION WHEN lock_not_available OR insufficient_privilege OR undefined_table THEN
    RETURN NULL;  -- Busy, not ours to drop, or somebody else did.
END $$;

-- Remove ended jobs of before `p_before` one by one: of today, of days with open jobs, and where ids tell no day. Other
-- days stay until they are over as a whole.
CREATE FUNCTION corral.forget_jobs(p_before double precision, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_today bigint := floor(corral.now() / 86400);
    v_part record;
    v_gone integer := 0;
    v_tenants text[];
    v_ids text[];
BEGIN
    FOR v_part IN
        SELECT relname, nullif(substr(relname, 6), 'default')::bigint AS day
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'corral.jobs'::regclass ORDER BY day
    LOOP
        EXIT WHEN v_gone >= p_limit;
        CONTINUE WHEN v_part.day > v_today OR v_part.day < v_today AND (v_part.day + 1) * 86400.0 > p_before;
        EXECUTE format(
            'SELECT array_agg(tenant), array_agg(id) FROM (SELECT tenant, id FROM corral.%I AS kept '
            'WHERE state IS NOT NULL AND created_at < $1 AND (callback IS NULL OR NOT EXISTS ('
            'SELECT 1 FROM corral.job_outbox AS sent WHERE sent.job_id = kept.id AND sent.status = ''pending'' '
            'AND sent.created_at >= $1)) LIMIT $2 FOR UPDATE SKIP LOCKED) AS old', v_part.relname)
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
