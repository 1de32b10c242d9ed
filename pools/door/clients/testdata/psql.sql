\set VERBOSITY verbose
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, born date);
CREATE INDEX people_name ON people (name);
\d people
\copy people FROM STDIN WITH (FORMAT csv)
1,Ada,1815-12-10
2,Grace,1906-12-09
3,Edsger,1930-05-11
\.
COPY people TO STDOUT;
-- An error has its position, and what follows is not lost.
SELECT id, nmae FROM people;
INSERT INTO people VALUES (1, 'Alan', NULL);
COPY people FROM STDIN;
4	Barbara	1939-11-07
5	Tony	not a date
6	Niklaus	1934-02-15
\.
SELECT count(*) FROM people;
-- Each row of the answer is a statement.
SELECT format('CREATE VIEW %I AS SELECT * FROM people WHERE id = %s', 'only_' || id, id) FROM people ORDER BY id \gexec
SELECT name FROM only_2;
SELECT id, name, born FROM people \gdesc
-- Several statements in one message are one transaction; so it is without BEGIN.
INSERT INTO people VALUES (7, 'Frances', NULL) \; SELECT 1/0;
SELECT count(*) FROM people WHERE id = 7;
BEGIN \; INSERT INTO people VALUES (8, 'Jean', NULL) \; COMMIT \; SELECT count(*) AS eight FROM people WHERE id = 8;
-- A cursor under the hood.
\set FETCH_COUNT 2
SELECT name FROM people ORDER BY id;
\unset FETCH_COUNT
-- What SET says stays, transaction after transaction, and RESET ends it.
SET datestyle = 'German';
SELECT born FROM people WHERE id = 1;
SET search_path = nowhere;
SELECT 1 FROM people;
RESET search_path;
RESET datestyle;
SELECT born FROM people WHERE id = 1;
\encoding LATIN1
SHOW client_encoding;
\encoding UTF8
-- An error in a transaction, savepoints.
BEGIN;
SAVEPOINT a;
SELECT 1/0;
SELECT 1;
ROLLBACK TO a;
SELECT 'still here' AS it;
ROLLBACK;
-- PREPARE in SQL, a temporary table, a cursor WITH HOLD: the session keeps its connection.
PREPARE one AS SELECT name FROM people WHERE id = $1;
EXECUTE one(1);
EXECUTE one(2);
DEALLOCATE one;
CREATE TEMPORARY TABLE mine AS SELECT 42 AS answer;
SELECT answer FROM mine;
DECLARE held CURSOR WITH HOLD FOR SELECT name FROM people ORDER BY id;
FETCH 2 FROM held;
FETCH 1 FROM held;
CLOSE held;
DISCARD ALL;
SELECT 1 FROM mine;
DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$;
LISTEN news;
NOTIFY news, 'it works';
UNLISTEN news;
SELECT 'unlistened' AS last;
