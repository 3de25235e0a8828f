-- name: post
-- Say what runs in a worker.
INSERT INTO corral.running_boards VALUES ($1, corral.now(), $2)
ON CONFLICT (worker) DO UPDATE SET at = excluded.at, body = excluded.body;

-- name: take_down
-- Nothing runs in a worker.
DELETE FROM corral.running_boards WHERE worker = $1;

-- name: boards
-- What runs in all workers.
SELECT worker, at, body FROM corral.running_boards WHERE at >= corral.now() - $1::double precision ORDER BY worker;

-- name: order
-- Ask workers to stop something.
INSERT INTO corral.stop_orders (at, body) VALUES (corral.now(), $1);

-- name: orders
-- The orders of late, and what time it is.
SELECT clock.now, orders.number, orders.at, orders.body
FROM (SELECT corral.now() AS now) AS clock
LEFT JOIN corral.stop_orders AS orders ON orders.at >= clock.now - $1::double precision
ORDER BY orders.number LIMIT 1000;

-- name: forget
-- Remove old orders, and the boards of workers that are gone.
WITH orders AS (DELETE FROM corral.stop_orders WHERE at < corral.now() - $1::double precision RETURNING 1),
boards AS (DELETE FROM corral.running_boards WHERE at < corral.now() - $1::double precision RETURNING 1)
SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM boards);
