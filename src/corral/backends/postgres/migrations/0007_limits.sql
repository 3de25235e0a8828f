-- What all workers know together of one provider's limits: small, and changed by comparing versions. Each change stays
-- on its page, because only the key has an index.
CREATE TABLE corral.limits (
    key text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    body bytea NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Put a body where the version is still that; what is there now.
CREATE FUNCTION corral.swap_limit(p_key text, p_version bigint, p_body bytea)
RETURNS TABLE (done boolean, body bytea, version bigint, now double precision) LANGUAGE plpgsql AS $$
DECLARE
    v_done boolean;
BEGIN
    IF p_version = 0 THEN
        INSERT INTO corral.limits AS kept VALUES (p_key, 1, p_body) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE corral.limits AS kept SET version = p_version + 1, body = p_body
        WHERE kept.key = p_key AND kept.version = p_version;
    END IF;
    v_done := FOUND;
    RETURN QUERY SELECT v_done, kept.body, kept.version, corral.now() FROM corral.limits AS kept WHERE kept.key = p_key;
    IF NOT FOUND THEN
        RETURN QUERY SELECT false, ''::bytea, 0::bigint, corral.now();
    END IF;
END $$;

-- What every call of a model cost, a partition per day.
CREATE TABLE corral.ledger (
    id text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    session_id text NOT NULL,
    run_id text NOT NULL,
    tags jsonb NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    input bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    estimated boolean NOT NULL,
    cost_usd double precision,
    cached text NOT NULL,
    duration_s double precision NOT NULL,
    first_s double precision,
    outcome text NOT NULL,
    prices text NOT NULL,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);

CREATE INDEX ledger_by_tenant ON corral.ledger (tenant, at);

CREATE TABLE corral.ledger_other PARTITION OF corral.ledger DEFAULT;

-- Make the partitions of today and of `p_ahead` days ahead; how many were made. Rows of a day that came before its
-- partition lie in the default one, and the day stays there.
CREATE FUNCTION corral.make_ledger_days(p_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_today bigint := floor(corral.now() / 86400);
    v_day bigint;
    v_made integer := 0;
BEGIN
    FOR v_day IN v_today .. v_today + p_ahead LOOP
        CONTINUE WHEN to_regclass(format('corral.ledger_%s', v_day)) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE corral.ledger_%s PARTITION OF corral.ledger FOR VALUES FROM (%s) TO (%s)',
                v_day, v_day * 86400, (v_day + 1) * 86400);
            v_made := v_made + 1;
        EXCEPTION WHEN check_violation OR duplicate_table OR lock_not_available OR insufficient_privilege THEN
            NULL;  -- Its rows are in the default partition, somebody else makes it, it is busy, or not ours to make.
        END;
    END LOOP;
    RETURN v_made;
END $$;

-- Days ahead that have no partition yet, looked up without a lock.
CREATE FUNCTION corral.missing_ledger_days(p_ahead integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM generate_series(0, p_ahead) AS ahead
    WHERE to_regclass(format('corral.ledger_%s', floor(corral.now() / 86400)::bigint + ahead)) IS NULL
$$;

-- Forget what is older than `p_before`: one whole day at once where all of it is, else up to `p_limit` rows.
CREATE FUNCTION corral.forget_ledger(p_before double precision, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_day bigint;
    v_gone integer;
BEGIN
    SELECT min(substring(child.relname FROM 'ledger_(\d+)$')::bigint) INTO v_day
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'corral.ledger'::regclass AND child.relname ~ '^ledger_\d+$';
    IF (v_day + 1) * 86400.0 <= p_before THEN
        BEGIN
            EXECUTE format('DROP TABLE corral.ledger_%s', v_day);
            RETURN 1;
        EXCEPTION WHEN lock_not_available OR insufficient_privilege OR undefined_table THEN
            NULL;  -- It is busy or not ours to drop: row by row, then.
        END;
    END IF;
    DELETE FROM corral.ledger WHERE (at, id) IN (
        SELECT old.at, old.id FROM corral.ledger AS old WHERE old.at < p_before
        ORDER BY old.at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

SELECT corral.make_ledger_days(7);
