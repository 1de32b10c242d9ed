-- What pg_regress sets for a session, and what PL/pgSQL does inside of one.
SHOW timezone;
SHOW datestyle;
SHOW intervalstyle;
SELECT '1997-02-10 17:32:01-08'::timestamptz;
CREATE TABLE r (id int PRIMARY KEY, v text);
CREATE FUNCTION fill(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..n LOOP
    BEGIN
      INSERT INTO r VALUES (i % 7, i::text);
    EXCEPTION WHEN unique_violation THEN
      RAISE NOTICE 'twice: %', i % 7;
    END;
  END LOOP;
  RETURN (SELECT count(*) FROM r);
END $$;
SELECT fill(9);
CREATE PROCEDURE in_two() LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM r;
  COMMIT;
  INSERT INTO r VALUES (100, 'after a commit inside');
  COMMIT;
END $$;
CALL in_two();
SELECT * FROM r;
SET LOCAL statement_timeout = '1s';
SHOW statement_timeout;
BEGIN;
SET LOCAL search_path = nowhere;
SHOW search_path;
COMMIT;
SHOW search_path;
SELECT pg_advisory_lock(7);
SELECT pg_advisory_unlock(7);
SELECT set_config('my.own', 'kept', false);
SELECT current_setting('my.own');
