"""psycopg 3: statements that it prepares itself, pipelines, COPY, cursors, cancels."""
import asyncio
import threading
import time

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row


def connect(**more):
    return psycopg.connect("", autocommit=True, **more)


def prepares_after_five():
    # Both connections name their first statement _pg3_0, and mean something else.
    with connect() as one, connect() as two:
        for n in range(20):
            assert one.execute("SELECT %s::int + 1", (n,)).fetchone() == (n + 1,)
            assert two.execute("SELECT %s::int * 2, 'two'", (n,)).fetchone() == (2 * n, "two")


def prepares_more_than_it_keeps():
    with connect() as conn:
        conn.prepare_threshold, conn.prepared_max = 0, 3
        for n in range(30):
            assert conn.execute(f"SELECT %s::int + {n % 10}", (n,)).fetchone() == (n + n % 10,)


def prepares_anew_when_the_table_changes():
    with connect() as conn:
        conn.execute("CREATE TABLE changing (a int)")
        conn.execute("INSERT INTO changing VALUES (1)")
        conn.prepare_threshold = 0
        query = "SELECT a FROM changing WHERE a > %s"
        assert conn.execute(query, (0,)).fetchall() == [(1,)]
        conn.execute("ALTER TABLE changing ADD b int")
        assert conn.execute(query, (0,)).fetchall() == [(1,)]


def pipelines():
    with connect() as conn:
        conn.execute("CREATE TABLE lines (n int PRIMARY KEY)")
        with conn.pipeline() as pipeline:
            for n in range(100):
                conn.execute("INSERT INTO lines VALUES (%s)", (n,))
            answers = [conn.execute("SELECT %s::text", (n,)) for n in range(50)]
            pipeline.sync()
            assert [a.fetchone()[0] for a in answers] == [str(n) for n in range(50)]
        try:
            with conn.pipeline() as pipeline:
                conn.execute("INSERT INTO lines VALUES (1000)")
                conn.execute("INSERT INTO lines VALUES (1)")
                conn.execute("INSERT INTO lines VALUES (1001)")
                pipeline.sync()
            raise AssertionError("the pipeline should have failed")
        except errors.UniqueViolation as e:
            assert e.diag.constraint_name == "lines_pkey"
        assert conn.execute("SELECT count(*) FROM lines").fetchone() == (100,)


def transactions():
    with connect() as conn:
        conn.execute("CREATE TABLE accounts (id int PRIMARY KEY, amount int CHECK (amount >= 0))")
        conn.execute("INSERT INTO accounts VALUES (1, 100), (2, 0)")
        with conn.transaction():
            conn.execute("UPDATE accounts SET amount = amount - 30 WHERE id = 1")
            try:
                with conn.transaction():
                    conn.execute("UPDATE accounts SET amount = amount - 1000 WHERE id = 1")
                raise AssertionError("a negative amount")
            except errors.CheckViolation:
                pass
            conn.execute("UPDATE accounts SET amount = amount + 30 WHERE id = 2")
        assert conn.execute("SELECT amount FROM accounts ORDER BY id").fetchall() == [(70,), (30,)]
    with psycopg.connect("") as conn:  # one transaction over everything
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert conn.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
        conn.execute("DELETE FROM accounts")
        conn.rollback()
        assert conn.execute("SELECT count(*) FROM accounts").fetchone() == (2,)


def copies():
    with connect() as conn, conn.cursor() as cur:
        cur.execute("CREATE TABLE copied (n int, t text)")
        with cur.copy("COPY copied FROM STDIN") as copy:
            for n in range(10_000):
                copy.write_row((n, "x" * (n % 50)))
        with cur.copy("COPY copied TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            assert sum(row[0] for row in copy.rows()) == 10_000 * 9_999 // 2
        try:
            with cur.copy("COPY copied FROM STDIN") as copy:
                for n in range(10_000):
                    copy.write(b"not a number\tx\n")
            raise AssertionError("rubbish was copied")
        except errors.InvalidTextRepresentation:
            pass
        try:
            with cur.copy("COPY copied FROM STDIN") as copy:
                copy.write_row((1, "x"))
                raise KeyError("changed my mind")
        except errors.QueryCanceled:
            pass
        assert cur.execute("SELECT count(*) FROM copied").fetchone() == (10_000,)


def cursors():
    with psycopg.connect("") as conn:
        with conn.cursor(name="far away", row_factory=dict_row) as cur:
            cur.itersize = 7
            cur.execute("SELECT n FROM generate_series(1, 100) AS n")
            assert sum(row["n"] for row in cur) == 5050
    with connect() as conn, conn.cursor(name="held", withhold=True) as cur:
        cur.execute("SELECT n FROM generate_series(1, 100) AS n")
        assert len(cur.fetchmany(10)) == 10
        conn.execute("SELECT 1")
        assert cur.fetchone() == (11,)


def cancels():
    with connect() as conn, connect() as watch:
        conn.execute("SET application_name = 'to be cancelled'")

        def cancel_when_it_runs():
            asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1001)%' AND pid <> pg_backend_pid() AND state = 'active'"
            while watch.execute(asked).fetchone() == (0,):
                time.sleep(0.01)
            conn.cancel()

        thread = threading.Thread(target=cancel_when_it_runs)
        thread.start()
        try:
            conn.execute("SELECT pg_sleep(1001)")
            raise AssertionError("it slept")
        except errors.QueryCanceled:
            pass
        thread.join()
        assert conn.execute("SHOW application_name").fetchone() == ("to be cancelled",)


def session_state():
    with connect(options="-c statement_timeout=54321", application_name="mine") as conn, connect() as other:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("54321ms",)
        assert conn.execute("SHOW application_name").fetchone() == ("mine",)
        assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
        conn.execute("SET TIME ZONE 'Asia/Tokyo'")
        assert conn.info.timezone.key == "Asia/Tokyo"
        other.execute("SELECT 1")
        assert conn.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
        assert conn.info.parameter_status("TimeZone") == "Asia/Tokyo"
        conn.execute("CREATE TEMPORARY TABLE mine (n int)")
        conn.execute("INSERT INTO mine VALUES (1)")
        assert conn.execute("SELECT n FROM mine").fetchall() == [(1,)]
        try:
            other.execute("SELECT n FROM mine")
            raise AssertionError("another's temporary table")
        except errors.UndefinedTable:
            pass
        notices = []
        conn.add_notice_handler(lambda n: notices.append(n.message_primary))
        conn.execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$")
        assert notices == ["careful"]


def notifications():
    with connect() as ear, connect() as mouth:
        ear.execute("LISTEN news")
        for n in range(3):
            mouth.execute("SELECT pg_notify('news', %s)", (str(n),))
        heard = []
        for notify in ear.notifies():
            heard.append(notify.payload)
            if len(heard) == 3:
                break
        assert heard == ["0", "1", "2"], heard


def large_values():
    with connect() as conn:
        text = "ä" * 3_000_000
        assert conn.execute("SELECT %b::text", (text,)).fetchone() == (text,)
        query = sql.SQL("SELECT {}").format(sql.Literal("y" * 1_000_000))
        assert len(conn.execute(query).fetchone()[0]) == 1_000_000


async def many_at_once():
    async def client(n):
        async with await psycopg.AsyncConnection.connect("", autocommit=True) as conn:
            for i in range(20):
                cur = await conn.execute("SELECT %s::int, %s::int", (n, i))
                assert await cur.fetchone() == (n, i)

    await asyncio.gather(*(client(n) for n in range(12)))


for check in (prepares_after_five, prepares_more_than_it_keeps, prepares_anew_when_the_table_changes, pipelines, transactions,
              copies, cursors, cancels, session_state, notifications, large_values):
    check()
    print("ok", check.__name__, flush=True)
asyncio.run(many_at_once())
print("ok many_at_once")
