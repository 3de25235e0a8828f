-- An open job is one row, in `job_queue`, with all that was asked for; `jobs` gets its row when the job ends, and is written
-- once. Nowhere is a job in both, nor, in one look at both, in none.
ALTER TABLE corral.job_queue
    ADD COLUMN created_at        double precision,
    ADD COLUMN given_deadline_at double precision,
    ADD COLUMN bundle            bigint,
    ADD COLUMN priority          smallint,
    ADD COLUMN session_id        text COLLATE "C",
    ADD COLUMN user_id           text COLLATE "C",
    ADD COLUMN batch_id          text COLLATE "C",
    ADD COLUMN tags              text,
    ADD COLUMN spec              bytea,
    ADD COLUMN callback          bytea,
    ADD COLUMN input             bytea;

-- Wide inputs, apart from the rows that move: written once, and gone with their day.
CREATE TABLE corral.job_inputs (
    job_id text COLLATE "C" PRIMARY KEY,
    body   bytea            NOT NULL
) PARTITION BY RANGE (job_id);
CREATE TABLE corral.job_inputs_default PARTITION OF corral.job_inputs DEFAULT;
ALTER TABLE corral.jobs ALTER COLUMN input DROP NOT NULL;

-- An input, if it is short enough to stand beside the rest of its job.
CREATE FUNCTION corral.narrow(p_input bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE WHEN octet_length(p_input) <= 1500 THEN p_input END $$;

-- An input that lies apart.
CREATE FUNCTION corral.wide_input(p_id text) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT body FROM corral.job_inputs WHERE job_id = p_id);
END $$;

-- For each day that jobs have a partition for, one of inputs. And in those of jobs no room need be left for what becomes of
-- one: it is written when that is known.
DO $$
DECLARE
    v_name text;
    v_day bigint;
BEGIN
    FOR v_name IN SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'corral.jobs'::regclass
    LOOP
        EXECUTE format('ALTER TABLE corral.%I RESET (fillfactor)', v_name);
        CONTINUE WHEN v_name = 'jobs_default';
        v_day := substr(v_name, 6)::bigint;
        EXECUTE format('CREATE TABLE corral.job_inputs_%s PARTITION OF corral.job_inputs FOR VALUES FROM (%L) TO (%L)',
            v_day, corral.id_at(v_day * 86400.0), corral.id_at((v_day + 1) * 86400.0));
    END LOOP;
END $$;

-- What is open moves.
INSERT INTO corral.job_inputs (job_id, body)
SELECT kept.id, kept.input FROM corral.job_queue AS job JOIN corral.jobs AS kept ON kept.tenant = job.tenant AND kept.id = job.id
WHERE corral.narrow(kept.input) IS NULL;
UPDATE corral.job_queue AS job SET created_at = kept.created_at, priority = kept.priority, session_id = kept.session_id,
    user_id = kept.user_id, batch_id = kept.batch_id, tags = kept.tags, spec = kept.spec, callback = kept.callback,
    input = corral.narrow(kept.input),
    given_deadline_at = CASE WHEN job.deadline_at IS DISTINCT FROM kept.deadline_at THEN kept.deadline_at END
FROM corral.jobs AS kept WHERE kept.tenant = job.tenant AND kept.id = job.id;
DELETE FROM corral.jobs WHERE state IS NULL;
DELETE FROM corral.job_queue WHERE created_at IS NULL;  -- Nothing was kept of it, so nobody could ever run it.
ALTER TABLE corral.job_queue
    ALTER COLUMN created_at SET NOT NULL, ALTER COLUMN priority SET NOT NULL, ALTER COLUMN spec SET NOT NULL,
    -- Between the places of two calls there is room for those of a batch.
    ALTER COLUMN place SET INCREMENT BY 1048576;
ALTER TABLE corral.job_queue SET (fillfactor = 85);
CREATE INDEX job_queue_of_tenant ON corral.job_queue (tenant, id) WHERE bundle IS NULL;
CREATE INDEX job_queue_of_batch ON corral.job_queue (tenant, batch_id, id) WHERE batch_id IS NOT NULL;

-- Jobs that were enqueued alike, many at once. Their ids were made together and lie together: who looks for the open jobs of
-- a tenant finds them between the first and the last one, and none of them is in an index of the tenant's own.
CREATE TABLE corral.job_bundles (
    tenant   text COLLATE "C" NOT NULL,
    last_id  text COLLATE "C" NOT NULL,
    first_id text COLLATE "C" NOT NULL,
    bundle   bigint           NOT NULL,
    PRIMARY KEY (tenant, last_id, bundle)
);

-- Jobs as people see them, the open and the ended.
CREATE VIEW corral.jobs_shown AS
SELECT true AS is_open, tenant, id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at,
    deadline_at, spec, callback, NULL::double precision AS finished_at, NULL::bytea AS error,
    CASE state WHEN 'parked' THEN 'queued' ELSE state END AS state, attempt, failures, last_seq, started_at, worker, progress,
    run_at, awaits, cancel_requested, coalesce(input, corral.wide_input(id)) AS input, NULL::bytea AS result
FROM corral.job_queue
UNION ALL
SELECT false, tenant, id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at,
    deadline_at, spec, callback, finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress,
    NULL, NULL, false, coalesce(input, corral.wide_input(id)), result
FROM corral.jobs;

-- -- partitions ------------------------------------------------------------------------------------------------------

-- Make the partitions of today and of `p_ahead` days ahead; how many were made. Rows of a day that
-- came before its partition lie in the default one, and the day stays there.
CREATE OR REPLACE FUNCTION corral.make_job_days(p_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_today bigint := floor(corral.now() / 86400);
    v_day bigint;
    v_table text;
    v_made integer := 0;
BEGIN
    FOR v_day IN v_today .. v_today + p_ahead LOOP
        CONTINUE WHEN to_regclass(format('corral.jobs_%s', v_day)) IS NOT NULL;
        BEGIN
            FOREACH v_table IN ARRAY ARRAY['jobs', 'job_inputs', 'job_steps', 'job_events', 'job_attempts'] LOOP
                EXECUTE format(
                    'CREATE TABLE corral.%1$s_%2$s PARTITION OF corral.%1$s FOR VALUES FROM (%3$L) TO (%4$L)',
                    v_table, v_day, corral.id_at(v_day * 86400.0), corral.id_at((v_day + 1) * 86400.0));
            END LOOP;
            v_made := v_made + 1;
        EXCEPTION WHEN check_violation OR duplicate_table OR lock_not_available OR insufficient_privilege THEN
            NULL;  -- Its rows are in the default partition, somebody else makes it, it is busy, or not ours to make.
        END;
    END LOOP;
    RETURN v_made;
END $$;

-- -- enqueueing ------------------------------------------------------------------------------------------------------

-- The next place in the order of arrival. The sequence is the owner's alone, whoever enqueues.
CREATE FUNCTION corral.next_place() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT nextval('corral.job_queue_place_seq') $$;

-- Whether two ids were made in the same quarter of a second, so that there is little between them.
CREATE FUNCTION corral.made_together(p_first text, p_last text) RETURNS boolean LANGUAGE sql IMMUTABLE
    AS $$ SELECT left(p_first, 11) = left(p_last, 11) AND p_first ~ '^[0-9a-f]{8}-[0-9a-f]{4}-' $$;

-- Whether one of these jobs of a tenant, between the first and the last by id, has ended.
CREATE FUNCTION corral.some_ended(p_tenant text, p_ids text[], p_first text, p_last text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_ids) > 9 AND corral.made_together(p_first, p_last) THEN
        RETURN EXISTS (
            SELECT 1 FROM corral.jobs WHERE tenant = p_tenant AND id BETWEEN p_first AND p_last AND id || '' = ANY (p_ids));
    END IF;
    RETURN EXISTS (
        SELECT 1 FROM corral.jobs WHERE tenant = p_tenant AND id BETWEEN p_first AND p_last AND id = ANY (p_ids));
END $$;

-- Those of these jobs that have ended; null: none.
CREATE FUNCTION corral.ended_of(p_tenants text[], p_ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_first text;
    v_last text;
BEGIN
    SELECT min(id COLLATE "C"), max(id COLLATE "C") INTO v_first, v_last FROM unnest(p_ids) AS id;
    RETURN (
        SELECT array_agg(kept.id) FROM unnest(p_tenants, p_ids) AS one(tenant, id)
            JOIN corral.jobs AS kept ON kept.tenant = one.tenant AND kept.id = one.id AND kept.id BETWEEN v_first AND v_last);
END $$;

-- Keep apart what is wide of these inputs.
CREATE FUNCTION corral.keep_wide(p_ids text[], p_inputs bytea[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO corral.job_inputs (job_id, body)
    SELECT id, input FROM unnest(p_ids, p_inputs) WITH ORDINALITY AS one(id, input, ord)
    WHERE corral.narrow(input) IS NULL ORDER BY ord
    ON CONFLICT DO NOTHING  -- One id twice in a batch.
$$;

-- Enqueue jobs that differ in ids and inputs alone, ready at once; one whose id is known is a unique violation. In the
-- order of `enqueue_jobs`: who is told, whose turn it is, the queue. The last one has the pass that one job with the share of
-- all would have.
CREATE FUNCTION corral.enqueue_alike(
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
        INSERT INTO corral.job_bundles (tenant, last_id, first_id, bundle) VALUES (p_tenant, p_last, p_first, v_bundle);
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

-- Enqueue drafts in order, or none: `refused` says why. One whose idempotency key is known names the earlier job.
CREATE OR REPLACE FUNCTION corral.enqueue_jobs(
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
    v_ended text[];
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
            PERFORM corral.tell_work(p_queues);
            INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, state, weight, pass, ready_at, aged_at,
                deadline_at, concurrency_limit, max_attempts, rank, created_at, priority, session_id, user_id, batch_id, tags,
                spec, callback, input)
            SELECT id, tenant, queue, agent, lane, 'queued', weight, pass, v_now, v_now,
                v_now + deadline_s, key_limit, max_attempts, rank, v_now, 10 - rank, session_id, user_id, batch_id, tags,
                spec, callback, corral.narrow(input)
            FROM unnest(p_ids, p_tenants, p_queues, p_agents, p_lanes, p_weights,
                corral.take_passes(p_queues, p_ranks, p_lanes, p_weights), p_deadlines, p_limits, p_max_attempts, p_ranks,
                p_sessions, p_users, p_batches, p_tags, p_specs, p_callbacks, p_inputs)
                AS one(id, tenant, queue, agent, lane, weight, pass, deadline_s, key_limit, max_attempts, rank,
                    session_id, user_id, batch_id, tags, spec, callback, input);
            IF corral.ended_of(p_tenants, p_ids) IS NOT NULL THEN
                RAISE unique_violation;
            END IF;
            PERFORM corral.keep_wide(p_ids, p_inputs);
            RETURN QUERY SELECT NULL::text, NULL::text, true, 'queued';
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- Some are here already: one by one, then.
        END;
    END IF;

    WITH fresh AS (
        INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, concurrency_key, state, weight, run_at,
            deadline_at, concurrency_limit, max_attempts, rank, created_at, priority, session_id, user_id, batch_id, tags,
            spec, callback, input)
        SELECT id, tenant, queue, agent, lane, key, 'scheduled', weight, coalesce(run_at, v_now + delay_s),
            v_now + deadline_s, key_limit, max_attempts, rank, v_now, 10 - rank, session_id, user_id, batch_id, tags,
            spec, callback, corral.narrow(input)
        FROM unnest(p_ids, p_tenants, p_queues, p_agents, p_lanes, p_keys, p_weights, p_run_at, p_delays,
            p_deadlines, p_limits, p_max_attempts, p_ranks, p_sessions, p_users, p_batches, p_tags, p_specs, p_callbacks,
            p_inputs, v_as)
            WITH ORDINALITY AS one(id, tenant, queue, agent, lane, key, weight, run_at, delay_s,
                deadline_s, key_limit, max_attempts, rank, session_id, user_id, batch_id, tags, spec, callback,
                input, known_as, ord)
        WHERE known_as = id ORDER BY ord
        ON CONFLICT DO NOTHING RETURNING id
    ) SELECT coalesce(array_agg(id), '{}') INTO v_fresh FROM fresh;
    -- What had ended before has not come anew. Looked for when it is ours: who was ending one while we came has done so.
    v_ended := corral.ended_of(p_tenants, p_ids);
    IF v_ended IS NOT NULL THEN
        DELETE FROM corral.job_queue WHERE id = ANY (v_fresh) AND id = ANY (v_ended);
        v_fresh := ARRAY(SELECT id FROM unnest(v_fresh) AS id WHERE id <> ALL (v_ended));
    END IF;
    PERFORM corral.keep_wide(array_agg(id), array_agg(input)) FROM unnest(p_ids, p_inputs) AS one(id, input)
    WHERE id = ANY (v_fresh) HAVING count(*) > 0;
    -- Who waits for the next job that is due must hear of one that is due before it looks again by itself.
    PERFORM corral.tell_work(array_agg(queue)) FROM corral.job_queue
    WHERE id = ANY (v_fresh) AND coalesce(run_at, 0) BETWEEN v_now AND v_now + 2 HAVING count(*) > 0;
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

-- -- moving ----------------------------------------------------------------------------------------------------------

-- What a worker gets of jobs that it holds, in the order given.
CREATE OR REPLACE FUNCTION corral.claimed_jobs(p_ids text[]) RETURNS TABLE (
    o_id text, o_token text, o_tenant text, o_agent text, o_input bytea, o_session_id text, o_user_id text,
    o_queue text, o_priority smallint, o_attempt integer, o_failures integer, o_max_attempts integer,
    o_deadline_at double precision, o_created_at double precision, o_claimed_at double precision,
    o_has_journal boolean, o_tags text, o_spec bytea, o_next_due_s double precision
) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        SELECT job.id, job.token, job.tenant, job.agent,
                coalesce(job.input, corral.wide_input(job.id)), job.session_id, job.user_id, job.queue,
            (10 - job.rank)::smallint, job.attempt, job.failures, job.max_attempts, job.deadline_at, job.created_at,
            job.started_at, job.has_journal, job.tags, job.spec, NULL::double precision
        FROM unnest(p_ids) WITH ORDINALITY AS one(id, ord)
            JOIN corral.job_queue AS job ON job.id = one.id
        ORDER BY ord;
END $$;

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
        RETURN QUERY
            UPDATE corral.job_queue AS job SET state = 'running', worker = p_worker, lease_until = v_now + p_lease_s,
                token = p_call || '.' || one.ord || CASE WHEN job.concurrency_key IS NULL THEN ':' ELSE 'k:' END
                    || job.tenant, started_at = v_now, attempt = job.attempt + 1
            FROM unnest(v_ids, v_at) WITH ORDINALITY AS one(id, spot, ord)
            WHERE job.ctid = one.spot AND job.id = one.id
            RETURNING job.id, job.token, job.tenant, job.agent,
                coalesce(job.input, corral.wide_input(job.id)), job.session_id, job.user_id, job.queue,
                (10 - job.rank)::smallint, job.attempt, job.failures, job.max_attempts, job.deadline_at,
                job.created_at, v_now, job.has_journal, job.tags, job.spec, NULL::double precision;
        IF EXISTS (SELECT 1 FROM corral.job_follows WHERE job_id = ANY (v_ids)) THEN
            PERFORM corral.tell_jobs(v_ids);
        END IF;
    END IF;
    o_next_due_s := CASE WHEN v_next IS NOT NULL THEN greatest(0, v_next - v_now) END;  -- `greatest` passes over nulls.
    RETURN NEXT;
END $$;

-- THE way to an end: the caller holds the jobs. Their keys are for the caller to give on. Each gets its callback into
-- the outbox, and goes from the queue to what is kept.
CREATE OR REPLACE FUNCTION corral.end_jobs(p_ids text[], p_states text[], p_results bytea[], p_errors bytea[], p_ended_by text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_called boolean;
BEGIN
    WITH gone AS (
        DELETE FROM corral.job_queue AS job
        USING unnest(p_ids, p_states, p_results, p_errors, p_ended_by)
            AS one(end_id, end_state, end_result, end_error, end_said)
        WHERE job.id = one.end_id
        RETURNING job.*, one.end_state, one.end_result, one.end_error, one.end_said
    ), ended AS (
        INSERT INTO corral.jobs AS kept (tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane,
            weight, concurrency_key, concurrency_limit, max_attempts, created_at, deadline_at, spec, callback, input, state,
            attempt, failures, last_seq, started_at, finished_at, worker, ended_by, dead, progress, error, result)
        SELECT tenant, id, agent, queue, session_id, user_id, batch_id, tags, priority, lane,
            weight, concurrency_key, concurrency_limit, max_attempts, created_at, coalesce(given_deadline_at, deadline_at), spec,
            callback, input, end_state,
            attempt, failures, last_seq, started_at, v_now, worker, end_said, end_state = 'failed', progress, end_error, end_result
        FROM gone
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

-- Write the next signal of a name into an open job's journal, and wake the job if it waits for that one.
CREATE OR REPLACE FUNCTION corral.signal_job(p_tenant text, p_id text, p_name text, p_value bytea, p_call text)
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
        RETURN CASE WHEN EXISTS (SELECT 1 FROM corral.jobs_shown WHERE tenant = p_tenant AND id = p_id)
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

-- Have these failed jobs, and cancelled ones where that was said, run again from their journal. The
-- deadline that was given stays known: from it and `created_at` is known how much time a job has.
CREATE OR REPLACE FUNCTION corral.redrive_jobs(p_tenant text, p_ids text[], p_states text[], p_input bytea)
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
        DELETE FROM corral.job_inputs WHERE job_id = ANY (v_ids);
        PERFORM corral.keep_wide(array_agg(id), array_agg(p_input)) FROM unnest(v_ids) AS id HAVING count(*) > 0;
    END IF;
    PERFORM corral.lock_keys(array_agg(tenant), array_agg(concurrency_key)) FROM corral.jobs
    WHERE tenant = p_tenant AND id = ANY (v_ids) AND coalesce(concurrency_key, '') <> '' HAVING count(*) > 0;
    WITH back AS (DELETE FROM corral.jobs WHERE tenant = p_tenant AND id = ANY (v_ids) RETURNING *)
    INSERT INTO corral.job_queue (id, tenant, queue, agent, lane, concurrency_key, state, weight, last_seq, deadline_at,
        given_deadline_at, started_at, concurrency_limit, attempt, max_attempts, rank, has_journal, progress, created_at,
        priority, session_id, user_id, batch_id, tags, spec, callback, input)
    SELECT id, tenant, queue, agent, lane, concurrency_key, 'scheduled', weight, last_seq,
        v_now + (deadline_at - created_at), deadline_at, started_at, concurrency_limit, attempt, max_attempts, 10 - priority,
        EXISTS (SELECT 1 FROM corral.job_steps AS step WHERE step.job_id = back.id), progress, created_at,
        priority, session_id, user_id, batch_id, tags, spec, callback,
        CASE WHEN p_input IS NULL THEN input ELSE corral.narrow(p_input) END
    FROM back ORDER BY id;
    PERFORM corral.ready_jobs(v_ids, '{}', '{}');
    RETURN QUERY SELECT unnest(v_ids);
END $$;

-- Drop the first day that was over before `p_before` and has no open job, nor a callback to be sent still; 1, or 0 where nothing was left of it, or none
-- when there is no such day. One at a time, because nobody can use the tables until this is committed.
CREATE OR REPLACE FUNCTION corral.forget_day(p_before double precision) RETURNS integer LANGUAGE plpgsql AS $$
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
    FOREACH v_table IN ARRAY ARRAY['jobs', 'job_inputs', 'job_steps', 'job_events', 'job_attempts'] LOOP
        EXECUTE format('DROP TABLE corral.%I', v_table || '_' || v_day);
    END LOOP;
    RETURN v_rows;
EXCEPTION WHEN lock_not_available OR insufficient_privilege OR undefined_table THEN
    RETURN NULL;  -- Busy, not ours to drop, or somebody else did.
END $$;

-- Remove ended jobs of before `p_before` one by one: of today, of days with open jobs, and where ids tell no day. Other
-- days stay until they are over as a whole.
CREATE OR REPLACE FUNCTION corral.forget_jobs(p_before double precision, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
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
            'WHERE created_at < $1 AND (callback IS NULL OR NOT EXISTS ('
            'SELECT 1 FROM corral.job_outbox AS sent WHERE sent.job_id = kept.id AND sent.status = ''pending'' '
            'AND sent.created_at >= $1)) LIMIT $2 FOR UPDATE SKIP LOCKED) AS old', v_part.relname)
        INTO v_tenants, v_ids USING p_before, p_limit - v_gone;
        CONTINUE WHEN v_ids IS NULL;
        DELETE FROM corral.blobs USING unnest(v_tenants, v_ids) AS gone(tenant, id)
        WHERE name >= gone.id || '/' AND name < gone.id || '0' AND blobs.tenant = gone.tenant;
        DELETE FROM corral.job_inputs WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_steps WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_events WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_attempts WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_outbox WHERE job_id = ANY (v_ids);
        DELETE FROM corral.jobs WHERE id = ANY (v_ids) AND tenant = ANY (v_tenants);
        v_gone := v_gone + cardinality(v_ids);
    END LOOP;
    DELETE FROM corral.job_batches AS batch WHERE created_at < p_before AND NOT EXISTS (
        SELECT 1 FROM corral.jobs_shown AS job WHERE job.tenant = batch.tenant AND job.batch_id = batch.id);
    RETURN v_gone;
END $$;

-- -- looking ---------------------------------------------------------------------------------------------------------

-- Whether an open job passes every filter that is given. It becomes a part of the queries that ask so.
CREATE FUNCTION corral.is_sought(
    p_job corral.job_queue, p_states text[], p_agent text, p_queue text, p_tag text, p_session text, p_user text,
    p_since double precision, p_until double precision
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT (p_states IS NULL OR CASE p_job.state WHEN 'parked' THEN 'queued' ELSE p_job.state END = ANY (p_states))
        AND (p_agent IS NULL OR p_job.agent = p_agent)
        AND (p_queue IS NULL OR p_job.queue = p_queue)
        AND (p_tag IS NULL OR p_job.tags::jsonb ? p_tag)
        AND (p_session IS NULL OR p_job.session_id = p_session)
        AND (p_user IS NULL OR p_job.user_id = p_user)
        AND (p_since IS NULL OR p_job.created_at >= p_since)
        AND (p_until IS NULL OR p_job.created_at < p_until)
$$;

-- The open jobs of a tenant before an id, newest first, through every filter that is given: those of a batch, or those on
-- their own and then bundle by bundle, as far as there may be one that is newer than what was found.
CREATE FUNCTION corral.open_ids(
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
    v_ids := ARRAY(
        SELECT id FROM corral.job_queue AS job WHERE tenant = p_tenant AND bundle IS NULL AND id < p_before
            AND corral.is_sought(job, p_states, p_agent, p_queue, p_tag, p_session, p_user, p_since, p_until)
        ORDER BY id DESC LIMIT p_limit);
    FOR v_bundle IN
        SELECT bundle, first_id, last_id FROM corral.job_bundles
        WHERE tenant = p_tenant AND first_id < p_before ORDER BY last_id DESC
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

-- Forget bundles of which no job is open. Of many bundles some are looked at, others each time.
CREATE FUNCTION corral.tidy_bundles(p_limit integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_share double precision;
BEGIN
    SELECT 1.0 * p_limit / greatest(1, count(*)) INTO v_share FROM corral.job_bundles;
    DELETE FROM corral.job_bundles AS old WHERE random() < v_share AND NOT EXISTS (
        SELECT 1 FROM corral.job_queue AS job
        WHERE job.id BETWEEN old.first_id AND old.last_id AND coalesce(job.bundle, 0) = old.bundle);
END $$;

-- What is new or replaced has no settings.
DO $$
DECLARE
    v_function text;
    v_setting text;
BEGIN
    FOREACH v_function IN ARRAY ARRAY['wide_input', 'some_ended', 'ended_of', 'open_ids', 'tidy_bundles', 'claimed_jobs', 'claim_jobs', 'end_jobs', 'settle_jobs', 'signal_job']
    LOOP
        EXECUTE format('ALTER FUNCTION corral.%I SET plan_cache_mode = force_generic_plan', v_function);
        FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'material'] LOOP
            EXECUTE format('ALTER FUNCTION corral.%I SET %I = off', v_function, 'enable_' || v_setting);
        END LOOP;
    END LOOP;
END $$;
