-- name: PlaceOrder :one
INSERT INTO orders (item, quantity, note) VALUES ($1, $2, $3) RETURNING *;

-- name: Orders :many
SELECT * FROM orders ORDER BY id;

-- name: CancelOrder :execrows
DELETE FROM orders WHERE id = $1;

-- name: ImportOrders :copyfrom
INSERT INTO orders (item, quantity) VALUES ($1, $2);

-- name: Quantities :batchone
SELECT sum(quantity)::bigint FROM orders WHERE item = $1;
