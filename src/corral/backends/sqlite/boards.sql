-- name: post
-- Say what runs in a worker.
INSERT INTO running_boards (worker, at, body) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET at = excluded.at, body = excluded.body;

-- name: take_down
-- Nothing runs in a worker.
DELETE FROM running_boards WHERE worker = ?1;

-- name: boards
-- What runs in all workers.
SELECT worker, at, body FROM running_boards WHERE at >= ?1 ORDER BY worker;

-- name: order
-- Ask workers to stop something.
INSERT INTO stop_orders (at, body) VALUES (?1, ?2);

-- name: orders
-- The orders since then.
SELECT number, at, body FROM stop_orders WHERE at >= ?1 ORDER BY number LIMIT 1000;

-- name: forget_orders
-- Remove old orders.
DELETE FROM stop_orders WHERE at < ?1;

-- name: forget_boards
-- Remove the boards of workers that are gone.
DELETE FROM running_boards WHERE at < ?1;
