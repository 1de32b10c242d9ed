CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid');
CREATE TABLE shop.customers (id serial PRIMARY KEY, name text NOT NULL UNIQUE, since timestamptz DEFAULT '2024-02-29 12:00Z', pay float8);
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES shop.customers, state shop.state, day interval);
INSERT INTO shop.customers (name, pay) SELECT 'customer ' || n, n / 3.0 FROM generate_series(1, 2000) AS n;
INSERT INTO shop.orders (customer, state, day) SELECT n, 'paid', n * interval '1 day 1 second' FROM generate_series(1, 2000) AS n;
CREATE INDEX ON shop.orders (customer) WHERE state = 'paid';
CREATE VIEW shop.rich AS SELECT * FROM shop.customers WHERE pay > 600;
CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) FROM shop.orders;
CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.since := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.touch();
COMMENT ON TABLE shop.orders IS 'What was sold; ''quotes'' and
two lines';
SELECT lo_from_bytea(4711, '\x00ff00ff');
