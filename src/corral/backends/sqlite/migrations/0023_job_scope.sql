-- What the key of who asked for a job may use: it goes along with all that the job begins. JSON; none: everything.
ALTER TABLE jobs ADD COLUMN scope TEXT;
