-- A wide input is its tenant's: an id that a tenant gave an ended job may come again with another one, and neither gets what
-- the other was asked.
LOCK TABLE corral.job_inputs IN ACCESS EXCLUSIVE MODE;
ALTER TABLE corral.job_inputs ADD COLUMN tenant text COLLATE "C";
-- Where an id has come twice already, the input is of whoever came first, and that job has ended.
UPDATE corral.job_inputs AS one SET tenant = kept.tenant FROM corral.jobs AS kept WHERE kept.id = one.job_id AND kept.input IS NULL;
UPDATE corral.job_inputs AS one SET tenant = job.tenant
FROM corral.job_queue AS job WHERE job.id = one.job_id AND job.input IS NULL AND one.tenant IS NULL;
DELETE FROM corral.job_inputs WHERE tenant IS NULL;  -- Nobody's.
ALTER TABLE corral.job_inputs DROP CONSTRAINT job_inputs_pkey;
ALTER TABLE corral.job_inputs ADD PRIMARY KEY (job_id, tenant);

-- Who was enqueueing while this table changed keeps an input as before, without a tenant: it is undone, and said again.
CREATE FUNCTION corral.refuse_input() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE serialization_failure USING MESSAGE = 'inputs are kept in another way since a moment ago';
END $$;
ALTER TABLE corral.job_inputs ALTER COLUMN tenant SET DEFAULT corral.refuse_input();

-- Keep apart what is wide of the inputs of open jobs.
CREATE OR REPLACE FUNCTION corral.keep_wide(p_ids text[], p_inputs bytea[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO corral.job_inputs (job_id, tenant, body)
    SELECT one.id, job.tenant, one.input
    FROM unnest(p_ids, p_inputs) WITH ORDINALITY AS one(id, input, ord) JOIN corral.job_queue AS job ON job.id = one.id
    WHERE corral.narrow(one.input) IS NULL ORDER BY ord
    ON CONFLICT DO NOTHING  -- One id twice in a batch.
$$;

-- An open job's input that lies apart.
CREATE OR REPLACE FUNCTION corral.wide_input(p_id text) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT body FROM corral.job_inputs
        WHERE job_id = p_id AND tenant = (SELECT tenant FROM corral.job_queue WHERE id = p_id));
END $$;

-- An input of a tenant's that lies apart.
CREATE FUNCTION corral.wide_input(p_tenant text, p_id text) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT body FROM corral.job_inputs WHERE job_id = p_id AND tenant = p_tenant);
END $$;

-- Jobs as people see them, the open and the ended.
CREATE OR REPLACE VIEW corral.jobs_shown AS
SELECT true AS is_open, tenant, id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at,
    deadline_at, spec, callback, NULL::double precision AS finished_at, NULL::bytea AS error,
    CASE state WHEN 'parked' THEN 'queued' ELSE state END AS state, attempt, failures, last_seq, started_at, worker, progress,
    run_at, awaits, cancel_requested, coalesce(input, corral.wide_input(tenant, id)) AS input, NULL::bytea AS result
FROM corral.job_queue
UNION ALL
SELECT false, tenant, id, agent, queue, priority, session_id, user_id, tags, batch_id, max_attempts, created_at,
    deadline_at, spec, callback, finished_at, error, state, attempt, failures, last_seq, started_at, worker, progress,
    NULL, NULL, false, coalesce(input, corral.wide_input(tenant, id)), result
FROM corral.jobs;

-- Have these failed jobs, and cancelled ones where that was said, run again from their journal. The
-- deadline that was given stays known: from it and `created_at` is known how much time a job has.
CREATE OR REPLACE FUNCTION corral.redrive_jobs(p_tenant text, p_ids text[], p_states text[], p_input bytea)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_now double precision := corral.now();
    v_ids text[];
BEGIN
    v_ids := ARRAY(
        SELECT id FROM corral.jobs AS kept WHERE tenant = p_tenant AND id = ANY (p_ids) AND state = ANY (p_states)
            AND NOT EXISTS (SELECT 1 FROM corral.job_queue AS job WHERE job.id = kept.id)  -- Of another tenant.
        ORDER BY id FOR UPDATE);
    IF p_input IS NOT NULL THEN
        DELETE FROM corral.job_steps WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_inputs WHERE job_id = ANY (v_ids) AND tenant = p_tenant;
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
    IF p_input IS NOT NULL THEN
        PERFORM corral.keep_wide(array_agg(id), array_agg(p_input)) FROM unnest(v_ids) AS id HAVING count(*) > 0;
    END IF;
    PERFORM corral.ready_jobs(v_ids, '{}', '{}');
    RETURN QUERY SELECT unnest(v_ids);
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
        DELETE FROM corral.job_inputs AS one USING unnest(v_tenants, v_ids) AS gone(tenant, id)
        WHERE one.job_id = gone.id AND one.tenant = gone.tenant AND one.job_id = ANY (v_ids);
        DELETE FROM corral.job_steps WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_events WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_attempts WHERE job_id = ANY (v_ids);
        DELETE FROM corral.job_outbox AS sent USING unnest(v_tenants, v_ids) AS gone(tenant, id)
        WHERE sent.job_id = gone.id AND sent.tenant = gone.tenant AND sent.job_id = ANY (v_ids);
        DELETE FROM corral.jobs AS kept USING unnest(v_tenants, v_ids) AS gone(tenant, id)
        WHERE kept.id = gone.id AND kept.tenant = gone.tenant AND kept.id = ANY (v_ids);
        v_gone := v_gone + cardinality(v_ids);
    END LOOP;
    DELETE FROM corral.job_batches AS batch WHERE created_at < p_before AND NOT EXISTS (
        SELECT 1 FROM corral.jobs_shown AS job WHERE job.tenant = batch.tenant AND job.batch_id = batch.id);
    RETURN v_gone;
END $$;

-- What is new or replaced has no settings.
DO $$
DECLARE
    v_function text;
    v_setting text;
BEGIN
    FOREACH v_function IN ARRAY ARRAY['wide_input(text)', 'wide_input(text, text)']
    LOOP
        EXECUTE format('ALTER FUNCTION corral.%s SET plan_cache_mode = force_generic_plan', v_function);
        FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'material'] LOOP
            EXECUTE format('ALTER FUNCTION corral.%s SET %I = off', v_function, 'enable_' || v_setting);
        END LOOP;
    END LOOP;
END $$;
