-- The less common ways to settle: `p_becomes` is what each really comes to, null where the claim was lost. Who hands back
-- a job that was not begun says so with a delay below 0, and its claim is no attempt.
CREATE OR REPLACE FUNCTION corral.let_go_jobs(
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
    v_setting text;
BEGIN
    ALTER FUNCTION corral.let_go_jobs SET plan_cache_mode = force_generic_plan;
    FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort'] LOOP
        EXECUTE format('ALTER FUNCTION corral.let_go_jobs SET %I = off', 'enable_' || v_setting);
    END LOOP;
END $$;
