-- Who was ending jobs while 0027 moved them waited for its tables with the statements of before: those take a job out of the
-- queue and change a row in `jobs` that is not there any more, and nothing would be left of it. Nobody changes how a job ended
-- now, so whoever tries to comes from there: it is undone, and said again, to what ends jobs since.
CREATE FUNCTION corral.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE serialization_failure USING MESSAGE = 'jobs are ended in another way since a moment ago';
END $$;
CREATE TRIGGER jobs_written_once BEFORE UPDATE OF ended_by ON corral.jobs
    FOR EACH STATEMENT EXECUTE FUNCTION corral.refuse_change();
