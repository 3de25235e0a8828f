-- When a queue was used last: one that is empty since a short while is shown all the same, one that nobody uses is forgotten.
ALTER TABLE job_queues ADD COLUMN used_at REAL NOT NULL DEFAULT 0;
