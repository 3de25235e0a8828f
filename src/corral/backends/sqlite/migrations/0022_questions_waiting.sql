-- Questions that wait for an answer, which are counted now and then.
CREATE INDEX workflow_tasks_asked ON workflow_tasks (created_at) WHERE kind = 'approval' AND state = 'new';
