-- A lease that was extended is so after a crash as well: who does something that costs relies on it.
CREATE OR REPLACE FUNCTION corral.renew_jobs(p_ids text[], p_tokens text[], p_lease_s double precision)
RETURNS TABLE (o_token text, o_cancelled boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_until double precision := corral.now() + p_lease_s;
BEGIN
    PERFORM 1 FROM corral.job_queue WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    RETURN QUERY
        UPDATE corral.job_queue AS job SET lease_until = v_until
        FROM unnest(p_ids, p_tokens) AS one(id, token)
        WHERE job.id = one.id AND job.token = one.token
        RETURNING job.token, job.cancel_requested;
END $$;

-- What is replaced loses its settings.
DO $$
DECLARE
    v_setting text;
BEGIN
    ALTER FUNCTION corral.renew_jobs SET plan_cache_mode = force_generic_plan;
    FOREACH v_setting IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort'] LOOP
        EXECUTE format('ALTER FUNCTION corral.renew_jobs SET %I = off', 'enable_' || v_setting);
    END LOOP;
END $$;
