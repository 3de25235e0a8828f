-- Jobs. `job_queue` has one narrow row per open job and is all that a claim walks; `jobs` keeps what was asked for and
-- what came of it. Keys of locks are taken in this order by everybody: concurrency keys by name, rows of the queue by
-- id, lanes by name; who cannot keep to it skips what is locked.

CREATE TABLE corral.jobs (
    tenant            text COLLATE "C" NOT NULL,
    id                text COLLATE "C" NOT NULL,
    agent             text COLLATE "C" NOT NULL,
    queue             text COLLATE "C" NOT NULL,
    session_id        text COLLATE "C",
    user_id           text COLLATE "C",
    batch_id          text COLLATE "C",
    tags              text,
    priority          smallint         NOT NULL,
    lane              text COLLATE "C" NOT NULL,
    weight            double precision NOT NULL,
    concurrency_key   text COLLATE "C",
    concurrency_limit integer          NOT NULL,
    max_attempts      integer          NOT NULL,
    created_at        double precision NOT NULL,
    deadline_at       double precision,
    spec              bytea            NOT NULL,
    callback          bytea,
    input             bytea            NOT NULL,
    -- From here on: written when it ends. None of these is in an index but `dead`, which a success leaves alone.
    state             text COLLATE "C",
    attempt           integer          NOT NULL DEFAULT 0,
    failures          integer          NOT NULL DEFAULT 0,
    last_seq          bigint           NOT NULL DEFAULT 0,
    started_at        double precision,
    finished_at       double precision,
    worker            text,
    ended_by          text COLLATE "C",
    dead              boolean          NOT NULL DEFAULT false,
    progress          bytea,
    error             bytea,
    result            bytea,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX jobs_dead ON corral.jobs (tenant, id) WHERE dead;
CREATE INDEX jobs_of_batch ON corral.jobs (tenant, batch_id, id) WHERE batch_id IS NOT NULL;

CREATE TABLE corral.job_steps (
    job_id       text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    ordinal      integer          NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    is_reference boolean          NOT NULL,
    failed       boolean          NOT NULL,
    call         text COLLATE "C",
    value        bytea            NOT NULL,
    PRIMARY KEY (job_id, key)
) PARTITION BY RANGE (job_id);

CREATE TABLE corral.job_events (
    job_id  text COLLATE "C" NOT NULL,
    seq     bigint           NOT NULL,
    attempt integer          NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    at      double precision NOT NULL,
    data    bytea            NOT NULL,
    PRIMARY KEY (job_id, seq)
) PARTITION BY RANGE (job_id);

CREATE TABLE corral.job_attempts (
    job_id     text COLLATE "C" NOT NULL,
    attempt    integer          NOT NULL,
    worker     text             NOT NULL,
    started_at double precision NOT NULL,
    ended_at   double precision NOT NULL,
    error      bytea            NOT NULL,
    PRIMARY KEY (job_id, attempt)
) PARTITION BY RANGE (job_id);

CREATE TABLE corral.jobs_default PARTITION OF corral.jobs DEFAULT WITH (fillfactor = 50);
CREATE TABLE corral.job_steps_default PARTITION OF corral.job_steps DEFAULT;
CREATE TABLE corral.job_events_default PARTITION OF corral.job_events DEFAULT;
CREATE TABLE corral.job_attempts_default PARTITION OF corral.job_attempts DEFAULT;

-- `parked`: queued for people, but its concurrency key has no slot. `run_at` is set while a time is waited for.
-- `let_go`: how the latest holder let go, so that it can be told so again when the first answer got lost.
CREATE TABLE corral.job_queue (
    id                text COLLATE "C" PRIMARY KEY,
    tenant            text COLLATE "C" NOT NULL,
    queue             text COLLATE "C" NOT NULL,
    agent             text COLLATE "C" NOT NULL,
    lane              text COLLATE "C" NOT NULL,
    concurrency_key   text COLLATE "C",
    state             text COLLATE "C" NOT NULL,
    token             text COLLATE "C",
    worker            text,
    awaits            text COLLATE "C",
    let_go            text COLLATE "C",
    emitted           text COLLATE "C",
    place             bigint GENERATED ALWAYS AS IDENTITY,
    last_seq          bigint           NOT NULL DEFAULT 0,
    weight            double precision NOT NULL,
    pass              double precision,
    run_at            double precision,
    ready_at          double precision,
    aged_at           double precision,
    lease_until       double precision,
    started_at        double precision,
    deadline_at       double precision,
    concurrency_limit integer          NOT NULL,
    attempt           integer          NOT NULL DEFAULT 0,
    failures          integer          NOT NULL DEFAULT 0,
    max_attempts      integer          NOT NULL,
    rank              smallint         NOT NULL,
    has_journal       boolean          NOT NULL DEFAULT false,
    cancel_requested  boolean          NOT NULL DEFAULT false,
    progress          bytea
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX job_queue_ready ON corral.job_queue (queue, rank, pass, place) WHERE state = 'queued';
CREATE INDEX job_queue_due ON corral.job_queue (run_at) WHERE run_at IS NOT NULL;
CREATE INDEX job_queue_leases ON corral.job_queue (lease_until) WHERE state = 'running';
CREATE INDEX job_queue_deadlines ON corral.job_queue (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX job_queue_slots ON corral.job_queue (tenant, concurrency_key, state, rank, place)
    WHERE concurrency_key IS NOT NULL;
CREATE INDEX job_queue_parked ON corral.job_queue (aged_at) WHERE state = 'parked';

-- Whose turn it is: the last pass of each fairness key within a queue and rank.
CREATE TABLE corral.job_lanes (
    queue     text COLLATE "C" NOT NULL,
    rank      smallint         NOT NULL,
    lane      text COLLATE "C" NOT NULL,
    last_pass double precision NOT NULL,
    step      double precision NOT NULL,
    moved_at  double precision NOT NULL,
    PRIMARY KEY (queue, rank, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Where to begin to look for ready jobs of a queue and rank. What was claimed lately is still in the index, until it is
-- vacuumed, and as long as anybody anywhere looks at an old state of the database: claims jump over it. `next_floor` was
-- the first ready pass at `moved_at`, and is the floor a while later, when what was being written then is there.
CREATE TABLE corral.job_heads (
    queue      text COLLATE "C" NOT NULL,
    rank       smallint         NOT NULL,
    floor      double precision NOT NULL DEFAULT 0,
    next_floor double precision NOT NULL DEFAULT 0,
    moved_at   double precision NOT NULL DEFAULT 0,
    check_at   double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, rank)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- A row to lock per concurrency key: who holds it decides about the slots of that key.
CREATE TABLE corral.job_slots (
    tenant text COLLATE "C" NOT NULL,
    key    text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE corral.job_dedupe (
    tenant      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint text             NOT NULL,
    job_id      text COLLATE "C" NOT NULL,
    expires_at  double precision NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX job_dedupe_by_expiry ON corral.job_dedupe (expires_at);

CREATE TABLE corral.job_batches (
    tenant     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    total      integer          NOT NULL,
    created_at double precision NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- Who is alive, and who wants to be notified of which job: worth nothing after a crash, so not logged.
CREATE UNLOGGED TABLE corral.job_workers (
    worker  text COLLATE "C" PRIMARY KEY,
    seen_at double precision NOT NULL,
    info    bytea            NOT NULL
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE corral.job_follows (
    job_id     text COLLATE "C" PRIMARY KEY,
    expires_at double precision NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE corral.job_outbox (
    id          text COLLATE "C" PRIMARY KEY,
    tenant      text COLLATE "C" NOT NULL,
    job_id      text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL,
    attempts    integer          NOT NULL DEFAULT 0,
    created_at  double precision NOT NULL,
    next_at     double precision NOT NULL,
    token       text COLLATE "C" NOT NULL DEFAULT '',
    settled     text COLLATE "C" NOT NULL DEFAULT '',
    answer      text             NOT NULL DEFAULT '',
    callback    bytea            NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX job_outbox_due ON corral.job_outbox (next_at) WHERE status = 'pending';
CREATE INDEX job_outbox_of_job ON corral.job_outbox (job_id);
CREATE INDEX job_outbox_of_tenant ON corral.job_outbox (tenant, created_at, id);

CREATE TABLE corral.job_schedules (
    tenant  text COLLATE "C" NOT NULL,
    name    text COLLATE "C" NOT NULL,
    paused  boolean          NOT NULL,
    next_at double precision,
    last_at double precision,
    fired   text COLLATE "C",
    rule    bytea            NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX job_schedules_due ON corral.job_schedules (next_at) WHERE next_at IS NOT NULL AND NOT paused;

-- The name of a value that belongs to a job begins with the job's id, and goes with it.
CREATE TABLE corral.blobs (
    tenant     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    created_at double precision NOT NULL,
    body       bytea            NOT NULL,
    PRIMARY KEY (name, tenant)
);

-- -- partitions ------------------------------------------------------------------------------------------------------

-- How ids of that moment begin: UUIDv7 begins with the milliseconds since 1970.
CREATE FUNCTION corral.id_at(p_at double precision) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(hex, 1, 8) || '-' || substr(hex, 9, 4)
    FROM lpad(to_hex(greatest(0, floor(p_at * 1000))::bigint), 12, '0') AS hex
$$;

-- Make the partitions of today and of `p_ahead` days ahead; how many were made. Rows of a day that
-- came before its partition lie in the default one, and the day stays there.
CREATE FUNCTION corral.make_job_days(p_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_today bigint := floor(corral.now() / 86400);
    v_day bigint;
    v_table text;
    v_made integer := 0;
BEGIN
    FOR v_day IN v_today .. v_today + p_ahead LOOP
        CONTINUE WHEN to_regclass(format('corral.jobs_%s', v_day)) IS NOT NULL;
        BEGIN
            FOREACH v_table IN ARRAY ARRAY['jobs', 'job_steps', 'job_events', 'job_attempts'] LOOP
                EXECUTE format(
                    'CREATE TABLE corral.%1$s_%2$s PARTITION OF corral.%1$s FOR VALUES FROM (%3$L) TO (%4$L) '
                        'WITH (fillfactor = %5$s)',
                    v_table, v_day, corral.id_at(v_day * 86400.0), corral.id_at((v_day + 1) * 86400.0),
                    CASE v_table WHEN 'jobs' THEN 50 ELSE 100 END);
            END LOOP;
            v_made := v_made + 1;
        EXCEPTION WHEN check_violation OR duplicate_table OR lock_not_available OR insufficient_privilege THEN
            NULL;  -- Its rows are in the default partition, somebody else makes it, it is busy, or not ours to make.
        END;
    END LOOP;
    RETURN v_made;
END $$;

-- Days ahead that have no partition yet, looked up without a lock.
CREATE FUNCTION corral.missing_job_days(p_ahead integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM generate_series(0, p_ahead) AS ahead
    WHERE to_regclass(format('corral.jobs_%s', floor(corral.now() / 86400)::bigint + ahead)) IS NULL
$$;

SELECT corral.make_job_days(7);
