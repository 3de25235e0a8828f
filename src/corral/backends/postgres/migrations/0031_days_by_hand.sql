-- Drop the first day that was over before `p_before` and has no open job, nor a callback to be sent still; 1, or 0 where nothing was left of it, or none
-- when there is no such day. One at a time, because nobody can use the tables until this is committed. Where somebody took or made tables by hand,
-- the day's rows of the one that is not there lie in the default one, and go from there.
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
    EXECUTE format('DROP TABLE corral.jobs_%s', v_day);
    FOREACH v_table IN ARRAY ARRAY['job_inputs', 'job_steps', 'job_events', 'job_attempts'] LOOP
        IF EXISTS (
            SELECT 1 FROM pg_inherits
            WHERE inhrelid = to_regclass(format('corral.%s_%s', v_table, v_day)) AND inhparent = format('corral.%s', v_table)::regclass
        ) THEN
            EXECUTE format('DROP TABLE corral.%s_%s', v_table, v_day);
        ELSE
            EXECUTE format('DELETE FROM corral.%I WHERE job_id >= $1 AND job_id < $2', v_table) USING v_first, v_end;
        END IF;
    END LOOP;
    RETURN v_rows;
EXCEPTION WHEN lock_not_available OR insufficient_privilege OR undefined_table THEN
    RETURN NULL;  -- Busy, not ours to drop, or somebody else did.
END $$;
