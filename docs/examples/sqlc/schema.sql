CREATE TABLE orders (
    id       bigserial PRIMARY KEY,
    item     text NOT NULL,
    quantity int NOT NULL,
    note     text,
    placed   timestamptz NOT NULL DEFAULT now()
);
