-- Executions: what is looked at often, and a revision that fences every move. What no engine need understand is JSON.
CREATE TABLE corral.executions (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    arn         text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    machine_arn text COLLATE "C" NOT NULL,
    version_arn text COLLATE "C" NOT NULL,
    alias_arn   text COLLATE "C" NOT NULL,
    map_run_arn text COLLATE "C" NOT NULL,
    status      text             NOT NULL,
    revision    bigint           NOT NULL,
    mark        text             NOT NULL,
    next_event  bigint           NOT NULL,
    redrives    integer          NOT NULL,
    redriven_at double precision,
    started_at  double precision NOT NULL,
    updated_at  double precision NOT NULL,
    stopped_at  double precision,
    wake_at     double precision,
    facts       bytea            NOT NULL,
    input       bytea            NOT NULL,
    outcome     bytea,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant);
CREATE TABLE corral.executions_0 PARTITION OF corral.executions FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE corral.executions_1 PARTITION OF corral.executions FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE corral.executions_2 PARTITION OF corral.executions FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE corral.executions_3 PARTITION OF corral.executions FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);
CREATE UNIQUE INDEX executions_by_arn ON corral.executions (tenant, arn);
CREATE INDEX executions_by_time ON corral.executions (tenant, started_at, id);
CREATE INDEX executions_by_machine ON corral.executions (tenant, machine_arn, started_at, id);
CREATE INDEX executions_open ON corral.executions (tenant, started_at, id) WHERE status = 'RUNNING';
CREATE INDEX executions_by_map_run ON corral.executions (tenant, map_run_arn, started_at, id) WHERE map_run_arn <> '';
CREATE INDEX executions_due ON corral.executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_stopped ON corral.executions (stopped_at) WHERE stopped_at IS NOT NULL;

-- Bodies of states that run.
CREATE TABLE corral.execution_frames (
    tenant       text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    parent       text COLLATE "C",
    done         boolean          NOT NULL,
    body         bytea            NOT NULL,
    PRIMARY KEY (tenant, execution_id, id)
) PARTITION BY HASH (execution_id);
CREATE TABLE corral.execution_frames_0 PARTITION OF corral.execution_frames FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE corral.execution_frames_1 PARTITION OF corral.execution_frames FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE corral.execution_frames_2 PARTITION OF corral.execution_frames FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE corral.execution_frames_3 PARTITION OF corral.execution_frames FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);

-- History: events that were written together are one row.
CREATE TABLE corral.execution_events (
    tenant       text COLLATE "C" NOT NULL,
    execution_id text COLLATE "C" NOT NULL,
    first        bigint           NOT NULL,
    last         bigint           NOT NULL,
    body         bytea            NOT NULL,
    PRIMARY KEY (tenant, execution_id, first)
) PARTITION BY HASH (execution_id);
CREATE TABLE corral.execution_events_0 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE corral.execution_events_1 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE corral.execution_events_2 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE corral.execution_events_3 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE corral.execution_events_4 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE corral.execution_events_5 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE corral.execution_events_6 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE corral.execution_events_7 PARTITION OF corral.execution_events FOR VALUES WITH (MODULUS 8, REMAINDER 7);

-- What executions wait for: the outbox of jobs and map runs, work that others fetch, and questions to people.
CREATE TABLE corral.workflow_tasks (
    tenant       text COLLATE "C" NOT NULL,
    token        text COLLATE "C" NOT NULL PRIMARY KEY,
    execution_id text COLLATE "C" NOT NULL,
    frame        text COLLATE "C" NOT NULL,
    kind         text             NOT NULL,
    resource     text COLLATE "C" NOT NULL,
    state        text             NOT NULL,
    worker       text             NOT NULL,
    body         bytea            NOT NULL,
    answer       bytea,
    created_at   double precision NOT NULL,
    closed_at    double precision
) PARTITION BY HASH (token);
CREATE TABLE corral.workflow_tasks_0 PARTITION OF corral.workflow_tasks FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE corral.workflow_tasks_1 PARTITION OF corral.workflow_tasks FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE corral.workflow_tasks_2 PARTITION OF corral.workflow_tasks FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE corral.workflow_tasks_3 PARTITION OF corral.workflow_tasks FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);
CREATE INDEX workflow_tasks_by_execution ON corral.workflow_tasks (tenant, execution_id);
CREATE INDEX workflow_tasks_by_kind ON corral.workflow_tasks (tenant, kind, created_at, token) WHERE kind = 'approval';
CREATE INDEX workflow_tasks_unhanded ON corral.workflow_tasks (created_at)
    WHERE state = 'new' AND kind IN ('job', 'map', 'answer');
CREATE INDEX workflow_tasks_to_fetch ON corral.workflow_tasks (tenant, resource, created_at)
    WHERE state = 'new' AND kind = 'activity';

CREATE FUNCTION corral.execution_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM corral.execution_frames WHERE tenant = old.tenant AND execution_id = old.id;
    DELETE FROM corral.execution_events WHERE tenant = old.tenant AND execution_id = old.id;
    DELETE FROM corral.workflow_tasks WHERE tenant = old.tenant AND execution_id = old.id;
    RETURN NULL;
END $$;
CREATE TRIGGER execution_goes AFTER DELETE ON corral.executions FOR EACH ROW EXECUTE FUNCTION corral.execution_goes();

-- What a move changes below its execution. The caller holds the execution's row.
CREATE FUNCTION corral.execution_write(
    p_tenant text, p_id text, p_is_new boolean, p_at double precision, p_status text,
    p_frames text[], p_parents text[], p_done boolean[], p_bodies bytea[], p_removed text[],
    p_first bigint, p_last bigint, p_events bytea,
    p_tokens text[], p_token_frames text[], p_kinds text[], p_resources text[], p_orders bytea[],
    p_closed text[], p_answers bytea[], p_submitted text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_keys text[];
BEGIN
    IF p_status = 'SUCCEEDED' THEN
        IF NOT p_is_new THEN
            DELETE FROM corral.execution_frames WHERE tenant = p_tenant AND execution_id = p_id;
        END IF;
    ELSE
        IF cardinality(p_removed) > 0 THEN
            WITH RECURSIVE gone (id) AS (
                SELECT one.id COLLATE "C" FROM unnest(p_removed) AS one(id)
                UNION
                SELECT frame.id FROM corral.execution_frames AS frame JOIN gone ON frame.parent = gone.id
                WHERE frame.tenant = p_tenant AND frame.execution_id = p_id
            )
            DELETE FROM corral.execution_frames
            WHERE tenant = p_tenant AND execution_id = p_id AND id IN (SELECT id FROM gone);
        END IF;
        IF cardinality(p_frames) > 0 THEN
            INSERT INTO corral.execution_frames (tenant, execution_id, id, parent, done, body)
            SELECT p_tenant, p_id, one.id, one.parent, one.done, one.body
            FROM unnest(p_frames, p_parents, p_done, p_bodies) AS one(id, parent, done, body)
            ON CONFLICT (tenant, execution_id, id) DO UPDATE SET done = excluded.done, body = excluded.body;
        END IF;
    END IF;
    IF p_events IS NOT NULL THEN
        INSERT INTO corral.execution_events (tenant, execution_id, first, last, body)
        VALUES (p_tenant, p_id, p_first, p_last, p_events);
    END IF;
    IF cardinality(p_submitted) > 0 THEN
        UPDATE corral.workflow_tasks SET kind = 'callback'
        WHERE token = ANY (p_submitted) AND tenant = p_tenant AND execution_id = p_id AND kind = 'job';
    END IF;
    IF cardinality(p_closed) > 0 THEN
        DELETE FROM corral.workflow_tasks
        WHERE token = ANY (p_closed) AND tenant = p_tenant AND execution_id = p_id AND kind <> 'approval';
        UPDATE corral.workflow_tasks AS task SET state = 'closed', answer = one.answer, closed_at = p_at
        FROM unnest(p_closed, p_answers) AS one(token, answer)
        WHERE task.token = one.token AND tenant = p_tenant AND execution_id = p_id AND kind = 'approval' AND state <> 'closed';
    END IF;
    IF p_status <> 'RUNNING' AND NOT p_is_new THEN
        DELETE FROM corral.workflow_tasks WHERE tenant = p_tenant AND execution_id = p_id AND kind <> 'approval';
        UPDATE corral.workflow_tasks SET state = 'closed', closed_at = p_at
        WHERE tenant = p_tenant AND execution_id = p_id AND kind = 'approval' AND state <> 'closed';
    END IF;
    v_keys := ARRAY['x:' || p_id || E'\n' || p_tenant];
    IF cardinality(p_tokens) > 0 THEN
        INSERT INTO corral.workflow_tasks (tenant, token, execution_id, frame, kind, resource, state, worker, body, created_at)
        SELECT p_tenant, one.token, p_id, one.frame, one.kind, one.resource, 'new', '', one.body, p_at
        FROM unnest(p_tokens, p_token_frames, p_kinds, p_resources, p_orders) AS one(token, frame, kind, resource, body)
        ON CONFLICT (token) DO NOTHING;
        v_keys := v_keys || ARRAY(
            SELECT DISTINCT 'a:' || one.resource || E'\n' || p_tenant
            FROM unnest(p_kinds, p_resources) AS one(kind, resource) WHERE one.kind = 'activity');
    END IF;
    IF EXISTS (SELECT 1 FROM corral.job_follows WHERE job_id = ANY (v_keys)) THEN
        PERFORM corral.tell_jobs(v_keys);
    END IF;
END $$;
