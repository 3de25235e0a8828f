-- name: empty
-- Forget all data, and keep the schema.
DELETE FROM corral.sessions;
DELETE FROM corral.events;
DELETE FROM corral.session_actors;
DELETE FROM corral.branches;
DELETE FROM corral.tickets;
DELETE FROM corral.invocations;
DELETE FROM corral.spans;
