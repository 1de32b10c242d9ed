package door_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
)

func TestEachModeOfPgxGetsItsAnswers(t *testing.T) {
	s := open(t, 2, door.Options{})
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		conn := s.connect(t, "app", "w0", "")
		for i := range 3 {
			var got int
			var database string
			if err := conn.QueryRow(t.Context(), "SELECT $1::int + 1, current_database()", mode, i).Scan(&got, &database); err != nil {
				t.Fatalf("%v: %v", mode, err)
			}
			if got != i+1 || database != "t_ws_w0" {
				t.Errorf("%v: got %d of %s", mode, got, database)
			}
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1/$1::int", mode, 0); state(err) != "22012" {
			t.Errorf("%v: division by zero: %v", mode, err)
		}
		if got := one[int](t, conn, "SELECT 7"); got != 7 {
			t.Errorf("%v: after an error: %d", mode, got)
		}
	}
}

// Two clients share one connection, and prepare other texts under the same name.
func TestPreparedStatementsAreTheClients(t *testing.T) {
	s := open(t, 1, door.Options{})
	a, b := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	prepare := func(conn *pgx.Conn, sql string) {
		if _, err := conn.PgConn().Prepare(t.Context(), "mine", sql, nil); err != nil {
			t.Fatal(err)
		}
	}
	run := func(conn *pgx.Conn) string {
		got := conn.PgConn().ExecPrepared(t.Context(), "mine", nil, nil, nil).Read()
		if got.Err != nil {
			return state(got.Err)
		}
		return string(got.Rows[0][0])
	}
	prepare(a, "SELECT 'a'")
	prepare(b, "SELECT 'b'")
	for range 3 {
		if got := run(a) + run(b); got != "ab" {
			t.Fatalf("the clients got %s", got)
		}
	}
	if _, err := a.PgConn().Prepare(t.Context(), "mine", "SELECT 2", nil); state(err) != "42P05" {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := a.PgConn().Prepare(t.Context(), "broken", "SELEC", nil); state(err) != "42601" {
		t.Errorf("a broken statement: %v", err)
	}
	if got := a.PgConn().ExecPrepared(t.Context(), "broken", nil, nil, nil).Read(); state(got.Err) != "26000" {
		t.Errorf("a statement whose Parse has failed: %v", got.Err)
	}
	exec(t, a, "DEALLOCATE mine")
	if got := run(a) + run(b); got != "26000b" {
		t.Errorf("after DEALLOCATE: %s", got)
	}
	if err := b.PgConn().Deallocate(t.Context(), "mine"); err != nil {
		t.Error(err)
	}
	if got := run(b); got != "26000" {
		t.Errorf("after Close: %s", got)
	}
	prepare(a, "SELECT 'again'")
	if _, err := a.PgConn().Exec(t.Context(), "DISCARD ALL").ReadAll(); err != nil {
		t.Error(err)
	}
	if got := run(a); got != "26000" {
		t.Errorf("after DISCARD ALL: %s", got)
	}
}

// More statements than a connection keeps, on few connections.
func TestStatementsGiveWayAndComeBack(t *testing.T) {
	s := open(t, 2, door.Options{})
	conn := s.connect(t, "app", "w0", "statement_cache_capacity=1000")
	for round := range 2 {
		for i := range 300 {
			if got := one[int](t, conn, fmt.Sprintf("SELECT %d + $1::int", i), round); got != i+round {
				t.Fatalf("statement %d gave %d", i, got)
			}
		}
	}
}

// The unnamed statement is the client's, too: another one uses the connection in between.
func TestTheUnnamedStatementIsTheClients(t *testing.T) {
	s := open(t, 1, door.Options{})
	a, b := s.raw(t, "app", "w0"), s.raw(t, "app", "w0")
	a.send(&pgproto3.Parse{Query: "SELECT 'a'"}, &pgproto3.Sync{})
	a.until('Z')
	b.send(&pgproto3.Parse{Query: "SELECT 'b'"}, &pgproto3.Sync{})
	b.until('Z')
	for range 2 {
		a.send(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := a.until('Z'); !strings.Contains(got, "a") || strings.Contains(got, "'b'") || !strings.HasPrefix(got, "2D(a)") {
			t.Errorf("a got %s", got)
		}
		b.send(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := b.until('Z'); !strings.HasPrefix(got, "2D(b)") {
			t.Errorf("b got %s", got)
		}
	}
	c := s.raw(t, "app", "w0")
	c.send(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := c.until('Z'); got != "E(26000)Z(I)" {
		t.Errorf("without a Parse: %s", got)
	}
}

// Answers come in the order of their questions, with an error in the middle, and what the
// door itself answers among them.
func TestAPipelineIsAnsweredInOrder(t *testing.T) {
	s := open(t, 1, door.Options{})
	c := s.raw(t, "app", "w0")
	c.send(
		&pgproto3.Parse{Name: "x", Query: "SELECT 'x'"}, &pgproto3.Bind{PreparedStatement: "x"}, &pgproto3.Execute{}, &pgproto3.Sync{},
		&pgproto3.Parse{Name: "y", Query: "SELECT 'x'"}, &pgproto3.Bind{PreparedStatement: "y"}, &pgproto3.Execute{},
		&pgproto3.Bind{PreparedStatement: "none"}, &pgproto3.Execute{}, &pgproto3.Parse{Name: "z", Query: "SELECT 'z'"}, &pgproto3.Sync{},
		&pgproto3.Bind{PreparedStatement: "y"}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "x"}, &pgproto3.Sync{},
		&pgproto3.Bind{PreparedStatement: "z"}, &pgproto3.Sync{},
		&pgproto3.Query{String: "SELECT 1; SELECT 2"}, &pgproto3.Query{String: ""},
		&pgproto3.Parse{Name: "y", Query: "SELECT 3"}, &pgproto3.Sync{},
	)
	want := "12D(x)CZ(I)" + "12D(x)CE(26000)Z(I)" + "2D(x)C3Z(I)" + "E(26000)Z(I)" + "TD(1)CTD(2)CZ(I)" + "IZ(I)" + "E(42P05)Z(I)"
	got := ""
	for range 7 {
		got += c.until('Z')
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFlushIsAnsweredAtOnce(t *testing.T) {
	s := open(t, 1, door.Options{})
	c := s.raw(t, "app", "w0")
	c.send(&pgproto3.Parse{Query: "SELECT generate_series(1, 5)"}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Flush{})
	if got := c.until('T'); got != "1tT" {
		t.Fatalf("got %s", got)
	}
	c.send(&pgproto3.Bind{}, &pgproto3.Execute{MaxRows: 2}, &pgproto3.Flush{})
	if got := c.until('s'); got != "2D(1)D(2)s" {
		t.Fatalf("got %s", got)
	}
	c.send(&pgproto3.Execute{}, &pgproto3.Sync{})
	if got := c.until('Z'); got != "D(3)D(4)D(5)CZ(I)" {
		t.Fatalf("got %s", got)
	}
	eventually(t, "the connection is given back", func() bool { return s.door.Stats().Active == 0 })
}

func TestCopyGoesBothWays(t *testing.T) {
	s := open(t, 1, door.Options{})
	conn := s.connect(t, "app", "w0", "")
	exec(t, conn, "DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int, s text)")
	big := strings.Repeat("x", 100_000)
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"n", "s"}, pgx.CopyFromSlice(200, func(i int) ([]any, error) { return []any{i, big}, nil }))
	if n != 200 || err != nil {
		t.Fatal(n, err)
	}
	var out bytes.Buffer
	if _, err := conn.PgConn().CopyTo(t.Context(), &out, "COPY copied (s) TO STDOUT"); err != nil || out.Len() != 200*(len(big)+1) {
		t.Fatal(out.Len(), err)
	}
	// An error in the middle: what comes late is nobody's.
	lines := strings.NewReader("1\tone\nno number\ttwo\n" + strings.Repeat("3\tthree\n", 100_000))
	if _, err := conn.PgConn().CopyFrom(t.Context(), lines, "COPY copied FROM STDIN"); state(err) != "22P02" {
		t.Fatal(err)
	}
	if got := one[int](t, conn, "SELECT count(*) FROM copied"); got != 200 {
		t.Errorf("%d rows", got)
	}
	// By the extended protocol, as libpq does it: the first Sync is not answered.
	c := s.raw(t, "app", "w0")
	c.send(&pgproto3.Parse{Query: "COPY copied FROM STDIN"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	c.until('G')
	c.send(&pgproto3.CopyData{Data: []byte("5\tfive\n")}, &pgproto3.CopyDone{}, &pgproto3.Sync{})
	if got := c.until('Z'); got != "CZ(I)" {
		t.Errorf("got %s", got)
	}
	c.send(&pgproto3.Parse{Query: "COPY copied FROM STDIN"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	c.until('G')
	c.send(&pgproto3.CopyData{Data: []byte("x\tbad\n")}, &pgproto3.CopyFail{Message: "enough"}, &pgproto3.Sync{})
	if got := c.until('Z'); got != "E(22P02)Z(I)" {
		t.Errorf("got %s", got)
	}
	c.send(&pgproto3.CopyData{Data: []byte("late")}, &pgproto3.CopyDone{}, &pgproto3.Query{String: "SELECT 'after'"})
	if got := c.until('Z'); got != "TD(after)CZ(I)" {
		t.Errorf("got %s", got)
	}
	eventually(t, "the connection is given back", func() bool { return s.door.Stats().Active == 0 })
}

func TestALargeMessageGoesThrough(t *testing.T) {
	s := open(t, 1, door.Options{})
	conn := s.connect(t, "app", "w0", "")
	big := strings.Repeat("y", 5_000_000)
	if got := one[int](t, conn, "SELECT length($1::text)", big); got != len(big) {
		t.Errorf("a parameter: %d", got)
	}
	if got := one[string](t, conn, "SELECT repeat('z', 5000000)"); len(got) != 5_000_000 {
		t.Errorf("a row: %d", len(got))
	}
	if got := one[int](t, conn, "SELECT length('"+big+"')"); got != len(big) {
		t.Errorf("a text: %d", got)
	}
	batch := &pgx.Batch{} // answers fill the sockets while questions still come
	for i := range 2000 {
		batch.Queue("SELECT repeat($1, 3000)", fmt.Sprint(i%10))
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Error(err)
	}
}

// What one client sets, another one on the same connection does not have.
func TestSettingsGoWithTheClient(t *testing.T) {
	s := open(t, 1, door.Options{})
	a := s.connect(t, "app", "w0", "timezone=Asia/Tokyo&application_name=first")
	b := s.connect(t, "app", "w0", "application_name=second")
	exec(t, a, "SET search_path = pg_catalog, public")
	exec(t, a, "SET statement_timeout = '77s'")
	exec(t, b, "SET DateStyle = 'German'")
	for range 3 {
		for _, c := range []struct {
			conn *pgx.Conn
			want string
		}{{a, "Asia/Tokyo|pg_catalog, public|77s|ISO, MDY|first"}, {b, "UTC|\"$user\", public|0|German, DMY|second"}} {
			got := one[string](t, c.conn, `SELECT concat_ws('|', current_setting('TimeZone'), current_setting('search_path'),
				current_setting('statement_timeout'), current_setting('DateStyle'), current_setting('application_name'))`)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		}
	}
	if got := a.PgConn().ParameterStatus("TimeZone"); got != "Asia/Tokyo" {
		t.Errorf("a was told of time zone %s", got)
	}
	exec(t, a, "BEGIN")
	exec(t, a, "SET TimeZone = 'Europe/Paris'")
	exec(t, a, "ROLLBACK")
	if got := one[string](t, a, "SHOW TimeZone"); got != "Asia/Tokyo" {
		t.Errorf("after ROLLBACK: %s", got)
	}
	exec(t, a, "RESET ALL")
	if got := one[string](t, a, "SHOW TimeZone"); got != "Asia/Tokyo" {
		t.Errorf("after RESET ALL: %s: it has begun with Asia/Tokyo", got)
	}
	_, err := pgx.Connect(t.Context(), s.dsn("app", "w0", "timezone=Nowhere/Land"))
	if state(err) != "22023" {
		t.Errorf("a bad setting at the start: %v", err)
	}
	// The pool's own users see none of it.
	conn, err := s.manager.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	var style string
	if err := conn.QueryRow(t.Context(), "SHOW DateStyle").Scan(&style); err != nil || style != "ISO, MDY" {
		t.Errorf("a handler sees DateStyle %s, %v", style, err)
	}
}

// And what a handler of the program leaves, no client has.
func TestWhatAHandlerLeavesNoClientSees(t *testing.T) {
	s := open(t, 1, door.Options{})
	conn, err := s.manager.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SET search_path = pg_temp"); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	a := s.connect(t, "app", "w0", "")
	if got := one[string](t, a, "SHOW search_path"); got != `"$user", public` {
		t.Errorf("got %s", got)
	}
}

func TestWhatCannotBeCarriedOverPins(t *testing.T) {
	s := open(t, 1, door.Options{})
	other := s.connect(t, "app", "w0", "")
	for _, c := range []struct{ name, leaves, ends, trace string }{
		{"a listener", "LISTEN news", "UNLISTEN *", "SELECT count(*) FROM pg_listening_channels()"},
		{"a temporary table", "CREATE TEMP TABLE scratch (n int)", "DROP TABLE scratch", "SELECT count(*) FROM pg_class WHERE relname = 'scratch'"},
		{"an advisory lock", "SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"},
		{"a cursor", "BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT", "CLOSE held", "SELECT count(*) FROM pg_cursors WHERE name = 'held'"},
		{"a prepared statement", "PREPARE by_sql AS SELECT 1", "DEALLOCATE by_sql", "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"},
		{"discarded", "CREATE TEMP TABLE scratch (n int)", "DISCARD ALL", "SELECT count(*) FROM pg_class WHERE relname = 'scratch'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.connect(t, "app", "w0", "default_query_exec_mode=simple_protocol")
			exec(t, a, c.leaves)
			eventually(t, "the client is pinned", func() bool { return s.door.Stats().Pinned == 1 })
			exec(t, a, c.ends)
			eventually(t, "the client is not pinned", func() bool { return s.door.Stats().Pinned == 0 })
			if got := one[int](t, other, c.trace, pgx.QueryExecModeSimpleProtocol); got != 0 {
				t.Errorf("another client finds %d", got)
			}
			exec(t, a, c.leaves) // and then it goes away
			eventually(t, "the client is pinned", func() bool { return s.door.Stats().Pinned == 1 })
			if err := a.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := one[int](t, other, c.trace, pgx.QueryExecModeSimpleProtocol); got != 0 {
				t.Errorf("another client finds %d of one that is gone", got)
			}
		})
	}
}

func TestPinsMayBeRefused(t *testing.T) {
	s := open(t, 1, door.Options{SessionState: door.RefuseSession})
	a := s.connect(t, "app", "w0", "")
	for _, sql := range []string{"LISTEN news", "CREATE TEMP TABLE x (n int)"} {
		if _, err := a.Exec(t.Context(), sql); state(err) != "0A000" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	tx, err := a.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LISTEN news"); state(err) != "0A000" {
		t.Error(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1"); state(err) != "25P02" {
		t.Errorf("the transaction goes on after a refusal: %v", err)
	}
	_ = tx.Rollback(t.Context())
	session := s.connect(t, "session", "w1", "")
	exec(t, session, "LISTEN news")
}

func TestNotificationsArrive(t *testing.T) {
	s := open(t, 2, door.Options{})
	a, b := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	exec(t, a, "LISTEN news")
	for i := range 3 {
		exec(t, b, "SELECT pg_notify('news', $1)", fmt.Sprint(i))
		n, err := a.WaitForNotification(t.Context())
		if err != nil || n.Payload != fmt.Sprint(i) {
			t.Fatal(n, err)
		}
		exec(t, a, "SELECT 1")
	}
}

// What a function does to the session, behind the statement's text, ends with it.
func TestWhatAFunctionLeavesIsUndone(t *testing.T) {
	s := open(t, 1, door.Options{})
	a, b := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	exec(t, a, `CREATE OR REPLACE FUNCTION meddle() RETURNS int LANGUAGE plpgsql AS
		$$ BEGIN PERFORM set_config('work_mem', '123MB', false); PERFORM pg_advisory_lock(11); RETURN 1; END $$`)
	exec(t, a, "SELECT meddle()")
	if got := one[string](t, b, "SHOW work_mem"); got == "123MB" {
		t.Error("another client has its setting")
	}
	if got := one[int](t, b, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); got != 0 {
		t.Error("the lock is held")
	}
}

func TestSessionPoolingKeepsTheConnection(t *testing.T) {
	s := open(t, 2, door.Options{})
	a := s.connect(t, "session", "w0", "")
	pid := one[int](t, a, "SELECT pg_backend_pid()")
	exec(t, a, "CREATE TEMP TABLE mine (n int)")
	for range 3 {
		if got := one[int](t, a, "SELECT pg_backend_pid()"); got != pid {
			t.Fatal("another connection")
		}
	}
	exec(t, a, "SELECT count(*) FROM mine")
	_ = a.Close(t.Context())
	b := s.connect(t, "app", "w0", "")
	if got := one[int](t, b, "SELECT count(*) FROM pg_class WHERE relname = 'mine'"); got != 0 {
		t.Error("a table was left behind")
	}
}

func TestWhoMayOpenWhat(t *testing.T) {
	s := open(t, 1, door.Options{})
	for _, c := range []struct{ user, database, want string }{
		{"one", "w1", ""}, {"one", "w2", "42501"}, {"one", "w11", "42501"}, {"some", "w2", ""}, {"some", "w3", ""}, {"some", "w1", "42501"},
		{"app", "nowhere", "3D000"}, {"app", "no/id", "3D000"}, {"nobody", "w1", "28P01"}, {"viewer", "w1", "42501"},
	} {
		conn, err := pgx.Connect(t.Context(), s.dsn(c.user, strings.ReplaceAll(c.database, "/", "%2F"), ""))
		switch {
		case err == nil && c.want == "":
			exec(t, conn, "SELECT 1")
			_ = conn.Close(t.Context())
		case err == nil:
			t.Errorf("%s opens %s", c.user, c.database)
			_ = conn.Close(t.Context())
		case state(err) != c.want:
			t.Errorf("%s and %s: %v", c.user, c.database, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "secret workspaces") {
			t.Errorf("the password is in %v", err)
		}
	}
	config, err := pgx.ParseConfig(s.dsn("app", "w0", ""))
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "wrong"
	if _, err := pgx.ConnectConfig(t.Context(), config); state(err) != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
}

// A cancel request stops its client's statement, and nobody else's ever.
func TestACancelHitsNobodyElse(t *testing.T) {
	s := open(t, 1, door.Options{})
	a := s.connect(t, "app", "w0", "")
	b := s.connect(t, "app", "w0", "")
	rounds := 30
	if long {
		rounds = 2000
	}
	var wrong atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range rounds * 3 {
			if got := b.PgConn().Exec(context.Background(), "SELECT 'b' FROM generate_series(1, 50)"); got.Close() != nil {
				wrong.Add(1)
			}
		}
	}()
	for range rounds {
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = a.PgConn().CancelRequest(context.Background()) })
		_, err := a.PgConn().Exec(ctx, "SELECT pg_sleep(0.002)").ReadAll()
		stop()
		if err != nil && state(err) != "57014" {
			t.Fatal(err)
		}
	}
	<-done
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d statements of another client were cancelled", n)
	}
	start := time.Now()
	time.AfterFunc(50*time.Millisecond, func() { _ = a.PgConn().CancelRequest(context.Background()) })
	if _, err := a.PgConn().Exec(t.Context(), "SELECT pg_sleep(60)").ReadAll(); state(err) != "57014" || time.Since(start) > 30*time.Second {
		t.Errorf("a long statement was not cancelled: %v", err)
	}
}

func TestWhoWaitsIsToldAndMayGo(t *testing.T) {
	s := open(t, 1, door.Options{NoticeAfter: 50 * time.Millisecond})
	holder := s.connect(t, "app", "w0", "")
	exec(t, holder, "BEGIN")
	config, err := pgx.ParseConfig(s.dsn("app", "w0", ""))
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 10)
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n.Message }
	waiting, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- waiting.Ping(context.Background()) }()
	eventually(t, "somebody waits", func() bool { return s.door.Stats().Waiting == 1 })
	gone := s.raw(t, "app", "w0")
	gone.send(&pgproto3.Query{String: "SELECT 1"})
	eventually(t, "both wait", func() bool { return s.door.Stats().Waiting == 2 })
	_ = gone.conn.Close()
	eventually(t, "who is gone waits no longer", func() bool { return s.door.Stats().Waiting == 1 })
	if got := <-notices; got != `waiting for a connection to workspace "w0"` {
		t.Errorf("the notice was %q", got)
	}
	exec(t, holder, "COMMIT")
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func TestTheLimitIsAnError(t *testing.T) {
	cfg := config(1)
	cfg.AcquireTimeout = 100 * time.Millisecond
	s := openWith(t, cfg, door.Options{})
	holder, other := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	exec(t, holder, "BEGIN")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		_, err := other.Exec(t.Context(), "SELECT 1", mode)
		if state(err) != "53300" || !strings.Contains(err.Error(), "connection limit reached") {
			t.Errorf("%v: %v", mode, err)
		}
	}
	exec(t, holder, "COMMIT")
	exec(t, other, "SELECT 1")
}

// A client that goes away in the middle takes nothing along.
func TestWhoGoesAwayLeavesNothing(t *testing.T) {
	s := open(t, 1, door.Options{})
	for _, last := range []pgproto3.FrontendMessage{
		&pgproto3.Query{String: "SELECT pg_sleep(100)"}, &pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "SELECT repeat('x', 100000000)"},
		&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Query{String: "COPY (SELECT generate_series(1, 100000000)) TO STDOUT"}, &pgproto3.Query{String: "LISTEN x"},
	} {
		c := s.raw(t, "app", "w0")
		c.send(last, &pgproto3.Flush{})
		eventually(t, "it is served", func() bool { st := s.door.Stats(); return st.Active+st.Pinned == 1 })
		_ = c.conn.Close()
		eventually(t, "its connection is free", func() bool { st := s.door.Stats(); return st.Active+st.Pinned == 0 && st.Clients == 0 })
	}
	// In the middle of a message, the rest of which the server would wait for.
	c := s.raw(t, "app", "w0")
	c.send(&pgproto3.Parse{Query: "SELECT $1::text"}, &pgproto3.Flush{})
	c.until('1')
	bind, err := (&pgproto3.Bind{Parameters: [][]byte{make([]byte, 1_000_000)}}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Write(bind[:500_000]); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.Close()
	began := time.Now()
	if got := one[int](t, s.connect(t, "app", "w0", ""), "SELECT 1"); got != 1 {
		t.Error(got)
	}
	t.Logf("the connection of one that went in the middle of a message was free after %v", time.Since(began))
}

// Each client's answers carry its own mark, whatever happens to others.
func TestNoAnswerGoesToAnotherClient(t *testing.T) {
	s := open(t, 3, door.Options{})
	clients, rounds := 12, 60
	if long {
		clients, rounds = 40, 2500
		if n, err := strconv.Atoi(os.Getenv("TENANTPOOL_DOOR_ROUNDS")); err == nil {
			rounds = n // 25,000 for a million answers
		}
	}
	var group errgroup.Group
	killing, stopKilling := context.WithCancel(t.Context())
	defer stopKilling()
	go func() { // somebody ends server processes
		admin, err := pgx.Connect(context.Background(), server.SuperuserDSN())
		if err != nil {
			return
		}
		defer func() { _ = admin.Close(context.Background()) }()
		for killing.Err() == nil {
			_, _ = admin.Exec(killing, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 't_ws_w%' ORDER BY random() LIMIT 1")
			select {
			case <-killing.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	var answers, failures atomic.Int64
	for i := range clients {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			var conn *pgx.Conn
			for round := 0; round < rounds; round++ {
				if conn == nil || conn.IsClosed() {
					var err error
					if conn, err = pgx.Connect(context.Background(), s.dsn("app", fmt.Sprintf("w%d", i%3), "")); err != nil {
						failures.Add(1)
						time.Sleep(time.Millisecond)
						continue
					}
				}
				mark := fmt.Sprintf("%d.%d", i, round)
				ctx, stop := context.WithCancel(context.Background())
				if random.IntN(20) == 0 {
					time.AfterFunc(time.Duration(random.IntN(2000))*time.Microsecond, stop)
				}
				var got, database string
				mode := []any{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec}[random.IntN(4)]
				err := conn.QueryRow(ctx, "SELECT $1::text, current_database()", mode, mark).Scan(&got, &database)
				stop()
				if err != nil {
					failures.Add(1)
					continue
				}
				answers.Add(1)
				if got != mark || database != fmt.Sprintf("t_ws_w%d", i%3) {
					return fmt.Errorf("client %d asked for %s and got %s of %s", i, mark, got, database)
				}
			}
			if conn != nil {
				_ = conn.Close(context.Background())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d answers, %d failures", answers.Load(), failures.Load())
	if answers.Load() < failures.Load() {
		t.Error("most have failed")
	}
}

func TestShutdownEndsWhoIsIdleAndWaitsForTransactions(t *testing.T) {
	s := open(t, 2, door.Options{})
	idle, busy := s.connect(t, "app", "w0", ""), s.connect(t, "app", "w0", "")
	exec(t, idle, "SELECT 1")
	exec(t, busy, "BEGIN")
	closed := make(chan error, 1)
	go func() { closed <- s.door.Shutdown(context.Background()) }()
	eventually(t, "the idle one is gone", func() bool { return s.door.Stats().Clients == 1 })
	if err := idle.Ping(t.Context()); state(err) != "57P01" && !errors.Is(err, net.ErrClosed) && !idle.IsClosed() {
		t.Errorf("the idle one hears %v", err)
	}
	exec(t, busy, "SELECT 1")
	exec(t, busy, "COMMIT")
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := pgx.Connect(t.Context(), s.dsn("app", "w0", "")); err == nil {
		t.Error("somebody came in")
	}
}

func TestAPoolOfThisProcess(t *testing.T) {
	s := open(t, 2, door.Options{})
	pool, err := s.door.Pool(t.Context(), "w4")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var group errgroup.Group
	for i := range 50 {
		group.Go(func() error {
			var got int
			var database string
			if err := pool.QueryRow(t.Context(), "SELECT $1::int, current_database()", i).Scan(&got, &database); err != nil {
				return err
			}
			if got != i || database != "t_ws_w4" {
				return fmt.Errorf("asked %d, got %d of %s", i, got, database)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("q", 3_000_000)
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT length($1)", big).Scan(&n); err != nil || n != len(big) {
		t.Error(n, err)
	}
}

// Also where a hook has a say in what is lent, and nothing lies in a seat.
func TestWhatAClientLeavesNoHandlerSees(t *testing.T) {
	hooks := pools.Hooks{AfterRelease: func(model.WorkspaceID, *pgx.Conn) bool { return true }}
	s := open(t, 1, door.Options{}, pools.WithHooks(hooks))
	a := s.connect(t, "app", "w0", "")
	exec(t, a, "SET DateStyle = 'German'")
	exec(t, a, "SELECT 1")
	conn, err := s.manager.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	var style string
	if err := conn.QueryRow(t.Context(), "SHOW DateStyle").Scan(&style); err != nil || style != "ISO, MDY" {
		t.Errorf("a handler sees DateStyle %s, %v", style, err)
	}
	conn.Release()
	if got := one[string](t, a, "SHOW DateStyle"); got != "German, DMY" {
		t.Errorf("and the client sees %s", got)
	}
}

// A COPY fails in the middle of a message of the client's. Its connection goes to nobody
// before the rest of the message is there: the rest would be what another client sends.
func TestNobodyFinishesAMessageOfAnother(t *testing.T) {
	s := open(t, 1, door.Options{})
	c := s.raw(t, "app", "w0")
	c.send(&pgproto3.Query{String: "DROP TABLE IF EXISTS halved; CREATE TABLE halved (n int)"})
	c.until('Z')
	for _, pause := range []time.Duration{0, 300 * time.Millisecond} { // with the pump of a COPY, and beyond the time that it takes to start one
		c.send(&pgproto3.Query{String: "COPY halved FROM STDIN"})
		c.until('G')
		bad, err := (&pgproto3.CopyData{Data: []byte("bad\n")}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := (&pgproto3.CopyData{Data: make([]byte, 500_000)}).Encode(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Write(data[:300_000]); err != nil {
			t.Fatal(err)
		}
		if got := c.until('Z'); got != "E(22P02)Z(I)" {
			t.Fatal(got)
		}
		other := s.connect(t, "app", "w0", "default_query_exec_mode=simple_protocol")
		answered := make(chan error, 1)
		go func() {
			_, err := other.Exec(context.Background(), "SELECT 1")
			answered <- err
		}()
		select {
		case err := <-answered:
			t.Fatalf("another client had the connection: %v", err)
		case <-time.After(50*time.Millisecond + pause):
		}
		if _, err := c.conn.Write(data[300_000:]); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		_ = other.Close(t.Context())
	}
	c.send(&pgproto3.CopyDone{}, &pgproto3.Query{String: "SELECT 'after'"})
	if got := c.until('Z'); got != "TD(after)CZ(I)" {
		t.Error(got)
	}
}
