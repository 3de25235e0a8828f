-- name: learn
-- How to forget all data and keep the schema: whatever tables there are, so that none is left out.
DO $learn$
DECLARE
    forget text;
BEGIN
    SELECT string_agg(format('DELETE FROM corral.%I;', relname), ' ' ORDER BY relname)
        INTO STRICT forget
        FROM pg_class
        WHERE relnamespace = 'corral'::regnamespace AND relkind IN ('r', 'p')
            AND NOT relispartition AND relname <> 'migrations';
    EXECUTE format('CREATE FUNCTION pg_temp.forget() RETURNS void LANGUAGE plpgsql AS %L', 'BEGIN ' || forget || ' END');
END
$learn$;

-- name: empty
-- Forget all data, in a connection that learnt how: planned once, the second time costs a fiftieth.
SELECT pg_temp.forget();
