-- When queues were used last, roughly: one that is empty since a short while is shown all the same. Sweeps keep it, so that
-- enqueueing has nothing more to write; worth nothing after a crash.
CREATE UNLOGGED TABLE corral.job_queues (
    queue   text COLLATE "C" PRIMARY KEY,
    used_at double precision NOT NULL
);
