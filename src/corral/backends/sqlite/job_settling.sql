-- name: is_written
-- Is a key in a job's journal already.
SELECT 1 FROM job_steps WHERE job = ?1 AND key = ?2;

-- name: not_begun
-- A claim was no attempt: the job is handed back as it came.
UPDATE job_queue SET attempt = attempt - 1, started_at = CASE attempt WHEN 1 THEN NULL ELSE started_at END
WHERE number = ?1;
