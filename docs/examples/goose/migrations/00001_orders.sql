-- +goose Up
CREATE TABLE orders (id bigserial PRIMARY KEY, item text NOT NULL);

-- +goose Down
DROP TABLE orders;
