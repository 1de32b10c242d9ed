"""psycopg2: simple queries only, and what it says to the server on its own."""
import io
import select

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

conn = psycopg2.connect("")
cur = conn.cursor()
cur.execute("CREATE TABLE things (id serial PRIMARY KEY, name text, tags text[], more jsonb)")
psycopg2.extras.execute_values(cur, "INSERT INTO things (name, tags, more) VALUES %s",
                               [(f"thing {n}", ["a", str(n)], psycopg2.extras.Json({"n": n})) for n in range(500)])
conn.commit()
print("ok execute_values", flush=True)

cur.execute("SELECT more->'n' FROM things WHERE id = %s", (7,))
assert cur.fetchone() == (6,)
try:
    cur.execute("SELECT 1/0")
    raise AssertionError("divided by zero")
except psycopg2.errors.DivisionByZero:
    pass
try:
    cur.execute("SELECT 1")
    raise AssertionError("the transaction should have failed")
except psycopg2.errors.InFailedSqlTransaction:
    conn.rollback()
print("ok errors", flush=True)

with conn.cursor("named") as named:
    named.itersize = 50
    named.execute("SELECT id FROM things ORDER BY id")
    assert sum(1 for _ in named) == 500
conn.commit()
print("ok named cursor", flush=True)

cur.copy_expert("COPY things (name) FROM STDIN WITH CSV", io.StringIO("".join(f"copied {n}\n" for n in range(1000))))
out = io.StringIO()
cur.copy_expert("COPY (SELECT name FROM things WHERE name LIKE 'copied%') TO STDOUT", out)
assert out.getvalue().count("\n") == 1000
conn.commit()
print("ok copy", flush=True)

conn.set_session(readonly=True, isolation_level="REPEATABLE READ", autocommit=False)
cur.execute("SHOW transaction_isolation")
assert cur.fetchone() == ("repeatable read",)
try:
    cur.execute("DELETE FROM things")
    raise AssertionError("read only means read only")
except psycopg2.errors.ReadOnlySqlTransaction:
    conn.rollback()
# With autocommit, it is the session that gets the defaults.
conn.set_session(readonly=True, autocommit=True)
for _ in range(2):
    cur.execute("SHOW default_transaction_read_only")
    assert cur.fetchone() == ("on",)
other = psycopg2.connect("")
other.autocommit = True
write = other.cursor()
write.execute("DELETE FROM things WHERE id = 1")
assert write.rowcount == 1
conn.set_session(readonly=False)
print("ok set_session", flush=True)

conn.set_client_encoding("LATIN1")
cur.execute("SELECT %s, convert_to(%s, 'UTF8')", ("é", "é"))
text, utf8 = cur.fetchone()
assert (text, bytes(utf8)) == ("é", "é".encode())
cur.execute("SHOW client_encoding")
assert cur.fetchone() == ("LATIN1",)
print("ok encoding", flush=True)

cur.execute("LISTEN news")
write.execute("NOTIFY news, 'hello'")
while not conn.notifies:
    assert select.select([conn], [], [], 60) != ([], [], [])
    conn.poll()
assert conn.notifies[0].payload == "hello"
print("ok notify", flush=True)

conn.reset()
cur.execute("SELECT count(*) FROM pg_listening_channels()")
assert cur.fetchone() == (0,)
print("ok reset", flush=True)
