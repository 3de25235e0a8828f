-- name: is_written
-- Is a key in a job's journal already.
SELECT 1 FROM job_steps WHERE job = ?1 AND key = ?2;
