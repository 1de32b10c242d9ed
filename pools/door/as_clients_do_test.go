package door_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools/door"
)

// A statement is shared by all clients of a connection: one that is prepared again is not
// what the table was like when another client had it prepared.
func TestParseFindsOutThatATableHasChanged(t *testing.T) {
	s := open(t, 1, door.Options{})
	first, second := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	exec(t, first, "DROP TABLE IF EXISTS changes; CREATE TABLE changes (a int); INSERT INTO changes VALUES (1)")
	const text = "SELECT * FROM changes"
	if _, err := first.PgConn().Prepare(t.Context(), "one", text, nil); err != nil {
		t.Fatal(err)
	}
	exec(t, first, "ALTER TABLE changes ADD b int")
	described, err := second.PgConn().Prepare(t.Context(), "mine", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(described.Fields); n != 2 {
		t.Errorf("%d columns, should be 2", n)
	}
	// The first one has the same statement then.
	if r := first.PgConn().ExecPrepared(t.Context(), "one", nil, nil, nil).Read(); r.Err != nil || len(r.Rows) != 1 {
		t.Errorf("%d rows, %v", len(r.Rows), r.Err)
	}
}

// psycopg 3 does that with those that it has no room for.
func TestDeallocateByTheExtendedProtocol(t *testing.T) {
	for _, user := range []string{"app", "session"} {
		s := open(t, 1, door.Options{})
		client := s.connect(t, user, "w0", "").PgConn()
		if _, err := client.Prepare(t.Context(), "one", "SELECT 1", nil); err != nil {
			t.Fatal(err)
		}
		deallocate := func() (string, error) {
			tag, err := client.ExecParams(t.Context(), "DEALLOCATE one", nil, nil, nil, nil).Close()
			return tag.String(), err
		}
		if tag, err := deallocate(); err != nil || tag != "DEALLOCATE" {
			t.Errorf("%s: %q, %v", user, tag, err)
		}
		if got := state(client.ExecPrepared(t.Context(), "one", nil, nil, nil).Read().Err); got != "26000" {
			t.Errorf("%s: it is there: %s", user, got)
		}
		if _, err := deallocate(); state(err) != "26000" {
			t.Errorf("%s, twice: %v", user, err)
		}
		if _, err := client.Prepare(t.Context(), "one", "SELECT 2", nil); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// Under session pooling, too, SQL may PREPARE, and then DEALLOCATE.
func TestDeallocateWhatSQLHasPrepared(t *testing.T) {
	for _, user := range []string{"app", "session"} {
		client := open(t, 1, door.Options{}).connect(t, user, "w0", "")
		exec(t, client, "PREPARE one AS SELECT 1")
		exec(t, client, "DEALLOCATE one")
		if _, err := client.Exec(t.Context(), "EXECUTE one"); state(err) != "26000" {
			t.Errorf("%s: %v", user, err)
		}
	}
}

func TestDiscardAllOfAClientThatListens(t *testing.T) {
	s := open(t, 2, door.Options{})
	client := s.connect(t, "app", "w0", "default_query_exec_mode=simple_protocol")
	for range 3 {
		exec(t, client, "LISTEN news")
		exec(t, client, "DISCARD ALL")
		if n := one[int](t, client, "SELECT count(*) FROM pg_listening_channels()"); n != 0 {
			t.Errorf("it listens to %d channels", n)
		}
	}
}

// What the server says when it ends a session is all that the client hears.
func TestOneFarewell(t *testing.T) {
	client := open(t, 1, door.Options{}).raw(t, "app", "w0")
	client.send(&pgproto3.Query{String: "SELECT pg_terminate_backend(pg_backend_pid())"})
	heard := 0
	for {
		message, err := client.frontend.Receive()
		if err != nil {
			break
		}
		if refused, ok := message.(*pgproto3.ErrorResponse); ok {
			heard++
			if refused.Code != "57P01" {
				t.Errorf("it hears %s: %s", refused.Code, refused.Message)
			}
		}
	}
	if heard != 1 {
		t.Errorf("it hears %d errors", heard)
	}
}

// A number is that of one client for long, or a KILL that comes late ends another one.
func TestTheNumberOfOneThatHasLeftIsNotTheNextOnes(t *testing.T) {
	s := open(t, 1, door.Options{})
	seen := map[uint32]bool{}
	for range 5 {
		conn := s.connect(t, "app", "w0", "")
		if seen[conn.PgConn().PID()] {
			t.Errorf("%d is there again", conn.PgConn().PID())
		}
		seen[conn.PgConn().PID()] = true
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has left", func() bool { return s.door.Stats().Clients == 0 })
	}
}
