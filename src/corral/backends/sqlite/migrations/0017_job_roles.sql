-- What who asked for a job may do, as the credential said: tools that want a role are for jobs as well. JSON.
ALTER TABLE jobs ADD COLUMN roles TEXT;
