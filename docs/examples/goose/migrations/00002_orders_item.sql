-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY orders_item ON orders (item);

-- +goose Down
DROP INDEX orders_item;
