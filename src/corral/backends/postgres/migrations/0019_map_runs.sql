-- Runs of distributed Maps. What is large and never changes (`work`) is apart from what counts.
CREATE TABLE corral.map_runs (
    tenant               text COLLATE "C" NOT NULL,
    id                   text COLLATE "C" NOT NULL,
    arn                  text COLLATE "C" NOT NULL,
    execution_id         text COLLATE "C" NOT NULL,
    phase                text             NOT NULL,
    status               text             NOT NULL,
    max_concurrency      integer          NOT NULL,
    tolerated_count      bigint,
    tolerated_percentage double precision,
    total                bigint           NOT NULL DEFAULT 0,
    items_total          bigint           NOT NULL DEFAULT 0,
    next_index           bigint           NOT NULL DEFAULT 0,
    running              bigint           NOT NULL DEFAULT 0,
    again                bigint           NOT NULL DEFAULT 0,
    succeeded            bigint           NOT NULL DEFAULT 0,
    failed               bigint           NOT NULL DEFAULT 0,
    timed_out            bigint           NOT NULL DEFAULT 0,
    aborted              bigint           NOT NULL DEFAULT 0,
    items_succeeded      bigint           NOT NULL DEFAULT 0,
    items_failed         bigint           NOT NULL DEFAULT 0,
    items_timed_out      bigint           NOT NULL DEFAULT 0,
    items_aborted        bigint           NOT NULL DEFAULT 0,
    error                text             NOT NULL DEFAULT '',
    cause                text             NOT NULL DEFAULT '',
    started_at           double precision NOT NULL,
    stopped_at           double precision,
    redrives             integer          NOT NULL DEFAULT 0,
    redriven_at          double precision,
    look_at              double precision NOT NULL,
    holder               text             NOT NULL DEFAULT '',
    held_until           double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.map_runs_0 PARTITION OF corral.map_runs FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 60);
CREATE TABLE corral.map_runs_1 PARTITION OF corral.map_runs FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 60);
CREATE TABLE corral.map_runs_2 PARTITION OF corral.map_runs FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 60);
CREATE TABLE corral.map_runs_3 PARTITION OF corral.map_runs FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 60);
CREATE INDEX map_runs_by_execution ON corral.map_runs (tenant, execution_id, started_at, id);
CREATE INDEX map_runs_to_look_at ON corral.map_runs (look_at) WHERE phase <> 'over';
CREATE INDEX map_runs_over ON corral.map_runs (stopped_at) WHERE phase = 'over';

CREATE TABLE corral.map_run_work (
    tenant text COLLATE "C" NOT NULL,
    id     text COLLATE "C" NOT NULL,
    work   bytea            NOT NULL,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.map_run_work_0 PARTITION OF corral.map_run_work FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.map_run_work_1 PARTITION OF corral.map_run_work FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.map_run_work_2 PARTITION OF corral.map_run_work FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.map_run_work_3 PARTITION OF corral.map_run_work FOR VALUES WITH (MODULUS 4, REMAINDER 3);

-- Children that have begun once. Those that never did are the numbers from `next_index` on.
CREATE TABLE corral.map_children (
    tenant     text COLLATE "C" NOT NULL,
    run_id     text COLLATE "C" NOT NULL,
    number     bigint           NOT NULL,
    state      text             NOT NULL,
    attempt    integer          NOT NULL DEFAULT 0,
    items      bigint           NOT NULL DEFAULT 1,
    changed_at double precision NOT NULL,
    record     bytea,
    PRIMARY KEY (tenant, run_id, number)
) PARTITION BY HASH (run_id);
CREATE TABLE corral.map_children_0 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 0) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_1 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 1) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_2 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 2) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_3 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 3) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_4 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 4) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_5 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 5) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_6 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 6) WITH (fillfactor = 80);
CREATE TABLE corral.map_children_7 PARTITION OF corral.map_children FOR VALUES WITH (MODULUS 8, REMAINDER 7) WITH (fillfactor = 80);
CREATE INDEX map_children_open ON corral.map_children (tenant, run_id, state, number) WHERE state IN ('running', 'again');

CREATE FUNCTION corral.map_run_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM corral.map_run_work WHERE tenant = old.tenant AND id = old.id;
    DELETE FROM corral.map_children WHERE tenant = old.tenant AND run_id = old.id;
    RETURN NULL;
END $$;
CREATE TRIGGER map_run_goes AFTER DELETE ON corral.map_runs FOR EACH ROW EXECUTE FUNCTION corral.map_run_goes();

-- Have the next children begin: those that are to run again first, never more than may run at once.
CREATE FUNCTION corral.map_take(p_tenant text, p_id text, p_limit bigint, p_now double precision, p_look_at double precision)
RETURNS TABLE (o_index bigint, o_attempt integer) LANGUAGE plpgsql AS $$
DECLARE
    v_run record;
    v_room bigint;
    v_again bigint;
    v_new bigint;
BEGIN
    SELECT phase, max_concurrency, running, again, next_index, total INTO v_run
    FROM corral.map_runs WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    IF v_run.phase IS DISTINCT FROM 'running' THEN
        RETURN;
    END IF;
    v_room := least(p_limit, v_run.max_concurrency - v_run.running, v_run.total - v_run.next_index + v_run.again);
    IF v_room <= 0 THEN
        RETURN;
    END IF;
    RETURN QUERY UPDATE corral.map_children AS child
        SET state = 'running', attempt = attempt + 1, changed_at = p_now, record = NULL
        WHERE tenant = p_tenant AND run_id = p_id AND number IN (
            SELECT number FROM corral.map_children
            WHERE tenant = p_tenant AND run_id = p_id AND state = 'again' ORDER BY number LIMIT least(v_room, v_run.again))
        RETURNING child.number, child.attempt;
    GET DIAGNOSTICS v_again = ROW_COUNT;
    v_new := least(v_room - v_again, v_run.total - v_run.next_index);
    RETURN QUERY INSERT INTO corral.map_children AS child (tenant, run_id, number, state, changed_at)
        SELECT p_tenant, p_id, number, 'running', p_now
        FROM generate_series(v_run.next_index, v_run.next_index + v_new - 1) AS number
        RETURNING child.number, child.attempt;
    UPDATE corral.map_runs SET running = running + v_again + v_new, again = again - v_again, next_index = next_index + v_new,
        look_at = p_look_at
    WHERE tenant = p_tenant AND id = p_id;
END $$;

-- Count children that ended. One that does not run is not counted again.
CREATE FUNCTION corral.map_settle(
    p_tenant text, p_id text, p_numbers bigint[], p_states text[], p_items bigint[], p_records bytea[], p_now double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM corral.map_runs WHERE tenant = p_tenant AND id = p_id FOR UPDATE;
    WITH ended AS (
        UPDATE corral.map_children AS child
        SET state = one.state, items = one.items, record = one.record, changed_at = p_now
        FROM (
            SELECT DISTINCT ON (number) number, state, items, record
            FROM unnest(p_numbers, p_states, p_items, p_records) AS told(number, state, items, record) ORDER BY number
        ) AS one
        WHERE child.tenant = p_tenant AND child.run_id = p_id AND child.number = one.number AND child.state = 'running'
        RETURNING one.state, one.items
    ), counted AS (
        SELECT count(*) AS ended,
            count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state = 'timed_out') AS timed_out, count(*) FILTER (WHERE state = 'aborted') AS aborted,
            coalesce(sum(items) FILTER (WHERE state = 'succeeded'), 0) AS items_succeeded,
            coalesce(sum(items) FILTER (WHERE state = 'failed'), 0) AS items_failed,
            coalesce(sum(items) FILTER (WHERE state = 'timed_out'), 0) AS items_timed_out,
            coalesce(sum(items) FILTER (WHERE state = 'aborted'), 0) AS items_aborted
        FROM ended
    )
    UPDATE corral.map_runs AS run SET running = run.running - counted.ended,
        succeeded = run.succeeded + counted.succeeded, failed = run.failed + counted.failed,
        timed_out = run.timed_out + counted.timed_out, aborted = run.aborted + counted.aborted,
        items_succeeded = run.items_succeeded + counted.items_succeeded, items_failed = run.items_failed + counted.items_failed,
        items_timed_out = run.items_timed_out + counted.items_timed_out,
        items_aborted = run.items_aborted + counted.items_aborted
    FROM counted WHERE run.tenant = p_tenant AND run.id = p_id AND counted.ended > 0;
END $$;

-- Have what did not succeed run again; true: the map run goes on.
CREATE FUNCTION corral.map_redrive(p_tenant text, p_id text, p_now double precision) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_again bigint;
BEGIN
    PERFORM 1 FROM corral.map_runs
    WHERE tenant = p_tenant AND id = p_id AND phase = 'over' AND status IN ('FAILED', 'ABORTED') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE corral.map_children SET state = 'again', record = NULL, changed_at = p_now
    WHERE tenant = p_tenant AND run_id = p_id AND state IN ('failed', 'timed_out', 'aborted');
    GET DIAGNOSTICS v_again = ROW_COUNT;
    UPDATE corral.map_runs SET phase = CASE WHEN total = 0 THEN 'reading' ELSE 'running' END, status = 'RUNNING',
        again = v_again, failed = 0, timed_out = 0, aborted = 0, items_failed = 0, items_timed_out = 0, items_aborted = 0,
        error = '', cause = '', stopped_at = NULL, redrives = redrives + 1, redriven_at = p_now, look_at = p_now
    WHERE tenant = p_tenant AND id = p_id;
    RETURN true;
END $$;

-- Buckets that workflows read items from and write results to where no other storage is named. Bodies are large values.
CREATE TABLE corral.buckets (
    tenant     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    created_at double precision NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE corral.bucket_objects (
    tenant       text COLLATE "C" NOT NULL,
    bucket       text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    body         text             NOT NULL,
    size         bigint           NOT NULL,
    pieces       integer          NOT NULL,
    etag         text             NOT NULL,
    content_type text             NOT NULL,
    modified_at  double precision NOT NULL,
    PRIMARY KEY (tenant, bucket, key)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.bucket_objects_0 PARTITION OF corral.bucket_objects FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE corral.bucket_objects_1 PARTITION OF corral.bucket_objects FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE corral.bucket_objects_2 PARTITION OF corral.bucket_objects FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE corral.bucket_objects_3 PARTITION OF corral.bucket_objects FOR VALUES WITH (MODULUS 4, REMAINDER 3);
