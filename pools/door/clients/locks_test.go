package clients

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connect is a session of pgx at this place.
func connect(t *testing.T, at place) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at.url())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func do(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("%s: %v, should be %s", what, err, code)
	}
}

// waiting tells whether so many sessions of the database wait for a lock, by the server.
func waiting(t *testing.T, watch *pgx.Conn, n int) func() bool {
	return func() bool {
		var waiting int
		err := watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		return waiting == n
	}
}

func TestLocksAndDeadlocks(t *testing.T) {
	everywhere(t, func(t *testing.T, at place) {
		one, two, watch := connect(t, at), connect(t, at), connect(t, at.direct())
		do(t, one, "CREATE TABLE locked (id int PRIMARY KEY, n int); INSERT INTO locked VALUES (1, 0), (2, 0)")

		// Who waits goes on when the other one commits.
		do(t, one, "BEGIN; UPDATE locked SET n = n + 1 WHERE id = 1")
		done := make(chan error, 1)
		later := func(conn *pgx.Conn, statement string) {
			go func() {
				_, err := conn.Exec(t.Context(), statement)
				done <- err
			}()
		}
		later(two, "UPDATE locked SET n = n + 10 WHERE id = 1")
		eventually(t, "it waits for the lock", waiting(t, watch, 1))
		do(t, one, "COMMIT")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var n int
		if err := one.QueryRow(t.Context(), "SELECT n FROM locked WHERE id = 1").Scan(&n); err != nil || n != 11 {
			t.Errorf("n is %d, %v", n, err)
		}

		// Of two that wait for each other the server ends one.
		do(t, one, "BEGIN; UPDATE locked SET n = 1 WHERE id = 1")
		do(t, two, "BEGIN; UPDATE locked SET n = 2 WHERE id = 2")
		later(one, "UPDATE locked SET n = 1 WHERE id = 2")
		eventually(t, "it waits for the lock", waiting(t, watch, 1))
		_, err := two.Exec(t.Context(), "UPDATE locked SET n = 2 WHERE id = 1")
		if other := <-done; (err == nil) == (other == nil) {
			t.Errorf("one of them should have failed: %v, %v", err, other)
		} else {
			wantCode(t, "the deadlock", errors.Join(err, other), "40P01")
		}
		do(t, one, "ROLLBACK")
		do(t, two, "ROLLBACK")

		// A cancel ends the wait of the one it is meant for, and no other.
		do(t, one, "BEGIN; UPDATE locked SET n = 3 WHERE id = 1")
		later(two, "UPDATE locked SET n = 4 WHERE id = 1")
		eventually(t, "it waits for the lock", waiting(t, watch, 1))
		if err := two.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "the cancelled one", <-done, "57014")
		do(t, one, "COMMIT")
		do(t, two, "UPDATE locked SET n = 5 WHERE id = 1")

		// NOWAIT and time-outs.
		do(t, one, "BEGIN; LOCK TABLE locked")
		_, err = two.Exec(t.Context(), "BEGIN; LOCK TABLE locked NOWAIT")
		wantCode(t, "NOWAIT", err, "55P03")
		do(t, two, "ROLLBACK")
		do(t, two, "SET lock_timeout = '10ms'")
		_, err = two.Exec(t.Context(), "SELECT FROM locked FOR UPDATE")
		wantCode(t, "lock_timeout", err, "55P03")
		do(t, one, "ROLLBACK")
		do(t, two, "SELECT FROM locked FOR UPDATE")
	})
}
