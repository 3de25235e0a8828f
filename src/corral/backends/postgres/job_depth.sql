-- name: depth
-- How many jobs are open in a queue, counted along the index of the ready ones first and only up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM (
        (SELECT 1 FROM corral.job_queue WHERE state = 'queued' AND queue = $1 LIMIT $2)
        UNION ALL
        (SELECT 1 FROM corral.job_queue WHERE state <> 'queued' AND queue = $1 LIMIT $2)
    ) AS open LIMIT $2
) AS counted;
