package work

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/servertest"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// shared is the server of all tests. Each has databases of its own there.
var shared = servertest.Shared{MaxConnections: 40}

func TestMain(m *testing.M) { shared.Main(m) }

// patience bounds every wait; the machine may be busy.
const patience = 5 * time.Minute

const insertHit = "INSERT INTO hits VALUES (1)"

// scene is a few workspaces, w0 and so on, with a table hits each.
type scene struct {
	t      *testing.T
	m      *pools.Manager
	config model.Config
	ids    []model.WorkspaceID
}

func setScene(t *testing.T, n int) *scene {
	t.Helper()
	pg := shared.Server(t)
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.SystemDatabase = pg.Host, pg.Port, pg.User, pg.Password, pg.Database
	cfg.SSLMode, cfg.Prefix, cfg.MaxConnections = "disable", strings.ToLower(rand.Text()[:8]), 20
	cfg.DialTimeout, cfg.AcquireTimeout = patience, patience
	s := &scene{t: t, config: cfg}
	var databases []string
	for i := range n {
		id := fmt.Sprintf("w%d", i)
		s.ids = append(s.ids, model.WorkspaceID(id))
		databases = append(databases, cfg.Prefix+"_ws_"+id)
	}
	if err := pg.CreateDatabases(t.Context(), databases...); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.m, err = pools.Open(t.Context(), cfg, pools.WithLogger(nil)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := s.m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	s.execute("CREATE TABLE hits (n int)")
	return s
}

func (s *scene) execute(sql string) {
	s.t.Helper()
	for _, id := range s.ids {
		if _, err := s.m.Workspace(id).Exec(s.t.Context(), sql); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *scene) hits(id model.WorkspaceID) (n int) {
	s.t.Helper()
	if err := s.m.Workspace(id).QueryRow(s.t.Context(), "SELECT count(*) FROM public.hits").Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// run does the task in all workspaces, with the journal, if it is named.
func (s *scene) run(task Task, journal string, change func(*Options)) (map[model.WorkspaceID]Result, Summary) {
	s.t.Helper()
	results := map[model.WorkspaceID]Result{}
	o := Options{Workspaces: s.ids, Task: task, Concurrency: 4, Timeout: patience, Done: func(r Result) {
		if _, twice := results[r.Workspace]; twice {
			s.t.Errorf("%s has two results", r.Workspace)
		}
		results[r.Workspace] = r
	}}
	if journal != "" {
		var err error
		if o.Journal, err = OpenJournal(journal, s.config.Prefix); err != nil {
			s.t.Fatal(err)
		}
		defer o.Journal.Close()
	}
	if change != nil {
		change(&o)
	}
	summary, err := Run(s.t.Context(), s.m, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return results, summary
}

// is checks the state of a workspace, and what its error says.
func is(t *testing.T, results map[model.WorkspaceID]Result, id model.WorkspaceID, state State, words string) {
	t.Helper()
	if r := results[id]; r.State != state || !strings.Contains(r.Error, words) {
		t.Errorf("%s is %+v, want %s, %s", id, r, state, words)
	}
}

// open begins a transaction with a hit, whose end is the test's.
func (s *scene) open(id model.WorkspaceID) (conn *pools.Conn, xid string) {
	s.t.Helper()
	conn, xid, err := beginIn(s.t.Context(), s.m.Workspace(id))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.Exec(s.t.Context(), insertHit); err != nil {
		s.t.Fatal(err)
	}
	return conn, xid
}

func (s *scene) end(conn *pools.Conn, how string) {
	s.t.Helper()
	if _, err := conn.Exec(s.t.Context(), how); err != nil {
		s.t.Error(err)
	}
	conn.Release()
}

// interrupted writes the journal of a run that was killed with these entries.
func (s *scene) interrupted(task Task, entries ...entry) (journal string) {
	s.t.Helper()
	journal = filepath.Join(s.t.TempDir(), "j")
	j, err := OpenJournal(journal, s.config.Prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	defer j.Close()
	server, err := askServer(s.t.Context(), s.m)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(server.timeline) != 8 || server.system == "" {
		s.t.Fatalf("%+v", server)
	}
	if err := j.begin(header{Sum: task.Sum(), Server: server.system}); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Timeline == "" {
			e.Timeline = server.timeline
		}
		if err := j.append(e); err != nil {
			s.t.Fatal(err)
		}
	}
	return journal
}

// The server decides what became of a transaction that was open when its run was killed.
func TestResumeAsksTheServer(t *testing.T) {
	s := setScene(t, 9)
	task := Transaction{insertHit}
	xids := make([]string, len(s.ids))
	var running *pools.Conn
	for i, how := range []string{"COMMIT", "ROLLBACK", "", "COMMIT", "ROLLBACK", "COMMIT"} {
		var conn *pools.Conn
		conn, xids[i] = s.open(s.ids[i])
		if how == "" {
			running = conn
			continue
		}
		s.end(conn, how)
	}
	journal := s.interrupted(task,
		entry{Workspace: "w0", State: Begun, XID: xids[0]}, entry{Workspace: "w0", State: Committing, XID: xids[0]},
		entry{Workspace: "w1", State: Committing, XID: xids[1]},
		entry{Workspace: "w2", State: Committing, XID: xids[2]},
		entry{Workspace: "w3", State: Begun, XID: xids[3]}, // the SQL has committed by itself
		entry{Workspace: "w4", State: Begun, XID: xids[4]},
		entry{Workspace: "w5", State: Committing, XID: xids[5], Timeline: "0000FFFF"},
		entry{Workspace: "w6", State: Committing, XID: "9000000000000"},
		entry{Workspace: "w7", State: Failed},
	)
	told := 0
	results, summary := s.run(task, journal, func(o *Options) {
		done := o.Done
		o.Done = func(r Result) {
			done(r)
			if told++; told == len(s.ids)-1 { // w2, which is asked for again and again
				s.end(running, "COMMIT")
			}
		}
	})
	for _, id := range []model.WorkspaceID{"w0", "w1", "w2", "w4", "w7", "w8"} {
		is(t, results, id, Done, "")
		if n := s.hits(id); n != 1 {
			t.Errorf("%s has %d rows", id, n)
		}
	}
	is(t, results, "w3", Uncertain, "had committed something itself")
	is(t, results, "w5", Uncertain, "does not know any more")
	is(t, results, "w6", Uncertain, "does not know any more")
	if summary.Done != 6 || summary.Uncertain != 3 || summary.All() {
		t.Errorf("%+v", summary)
	}
	if !results["w0"].Earlier || results["w1"].Earlier {
		t.Errorf("%+v %+v", results["w0"], results["w1"])
	}
	// They stay uncertain, until they are to be done again.
	results, _ = s.run(task, journal, nil)
	is(t, results, "w3", Uncertain, "had committed something itself")
	results, summary = s.run(task, journal, func(o *Options) { o.RetryUncertain = true })
	is(t, results, "w6", Done, "")
	if !summary.All() || summary.DoneEarlier != 6 || s.hits("w3") != 2 || s.hits("w5") != 2 || s.hits("w6") != 1 {
		t.Errorf("%+v", summary)
	}
}

func TestATransactionIsNotSettledWhileItRuns(t *testing.T) {
	s := setScene(t, 1)
	task := Transaction{insertHit}
	conn, xid := s.open("w0")
	journal := s.interrupted(task, entry{Workspace: "w0", State: Committing, XID: xid})
	results, _ := s.run(task, journal, func(o *Options) { o.Timeout = 300 * time.Millisecond })
	is(t, results, "w0", Failed, "still in progress")
	s.end(conn, "COMMIT")
	results, _ = s.run(task, journal, nil)
	is(t, results, "w0", Done, "")
	if n := s.hits("w0"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// Whatever part of it was done, it is not taken for failed, and not done again.
func TestSQLThatEndsItsTransaction(t *testing.T) {
	for _, sql := range []string{
		insertHit + "; COMMIT",
		insertHit + "; COMMIT; " + insertHit,
		insertHit + "; COMMIT; BEGIN",
		insertHit + "; COMMIT; BEGIN; " + insertHit,
		insertHit + "; COMMIT AND CHAIN; " + insertHit,
		insertHit + "; COMMIT; SELECT 1/0",
		insertHit + "; COMMIT AND CHAIN; SELECT 1/0",
		insertHit + "; COMMIT; BEGIN; SELECT 1/0",
		insertHit + "; ROLLBACK",
		"ROLLBACK; " + insertHit,
		"ROLLBACK; BEGIN; " + insertHit,
		"ROLLBACK; BEGIN; " + insertHit + "; COMMIT; BEGIN; SELECT 1/0",
		insertHit + "; ROLLBACK AND CHAIN; " + insertHit,
	} {
		t.Run(sql, func(t *testing.T) {
			s := setScene(t, 1)
			journal := filepath.Join(t.TempDir(), "j")
			results, _ := s.run(Transaction{sql}, journal, nil)
			is(t, results, "w0", Uncertain, "the SQL ended the transaction")
			before := s.hits("w0")
			results, _ = s.run(Transaction{sql}, journal, nil)
			is(t, results, "w0", Uncertain, "the SQL ended the transaction")
			if n := s.hits("w0"); n != before {
				t.Errorf("%d rows, and then %d", before, n)
			}
		})
	}
}

func TestSQLOfManyKinds(t *testing.T) {
	for _, test := range []struct {
		task  Task
		state State
		words string
		hits  int
	}{
		{Transaction{insertHit + "; SAVEPOINT s; SELECT 1/0"}, Failed, "division by zero", 0},
		{Transaction{insertHit + "; SAVEPOINT s; " + insertHit + "; ROLLBACK TO s"}, Done, "", 1},
		{Transaction{insertHit + "; DO $$ BEGIN PERFORM 1; END $$; SELECT * FROM generate_series(1, 100000)"}, Done, "", 1},
		{Transaction{"-- nothing but a comment"}, Done, "", 0},
		{Transaction{insertHit + "; SET search_path = nowhere"}, Done, "", 1},
		{Transaction{"VACUUM hits"}, Failed, "cannot run inside a transaction block", 0},
		{Transaction{insertHit + "; COPY hits FROM STDIN"}, Failed, "exec has no data to send", 0},
		{Transaction{insertHit + "; COPY hits TO STDOUT"}, Done, "", 1},
		{Transaction{insertHit + "; ALTER TABLE hits ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED; " + insertHit}, Failed, "duplicate key", 0}, // at COMMIT
		{Transaction{insertHit + "; SELECT pg_terminate_backend(pg_backend_pid())"}, Failed, "ended the connection", 0},
		{Plain{insertHit}, Done, "", 1},
		{Plain{"VACUUM hits"}, Done, "", 0},
		{Plain{"CREATE INDEX CONCURRENTLY ON hits (n)"}, Done, "", 0},
		{Plain{insertHit + "; SELECT 1/0"}, Failed, "division by zero", 0},
		{Plain{"COPY hits FROM STDIN"}, Failed, "exec has no data to send", 0},
		{Plain{"BEGIN; " + insertHit + "; COMMIT"}, Done, "", 1},
		{Plain{"BEGIN; " + insertHit}, Failed, "left a transaction open", 0},
		{Plain{insertHit + "; SELECT pg_terminate_backend(pg_backend_pid())"}, Uncertain, "ended the connection", 0},
	} {
		t.Run(fmt.Sprint(test.task), func(t *testing.T) {
			s := setScene(t, 1)
			results, _ := s.run(test.task, "", nil)
			is(t, results, "w0", test.state, test.words)
			if n := s.hits("w0"); n != test.hits {
				t.Errorf("%d rows, want %d", n, test.hits)
			}
		})
	}
}

func TestTheTimeoutUndoesATransaction(t *testing.T) {
	s := setScene(t, 2)
	const sql = insertHit + "; SELECT CASE WHEN current_database() LIKE '%w0' THEN pg_sleep(1000) END"
	results, _ := s.run(Transaction{sql}, "", func(o *Options) { o.Timeout = 3 * time.Second })
	is(t, results, "w0", Failed, "the 3s for one workspace are over")
	if s.hits("w0") != 0 {
		t.Error("it is there")
	}
}

func TestWhatHasNoTransactionIsUncertainAfterAKill(t *testing.T) {
	s := setScene(t, 2)
	for _, task := range []Task{Plain{insertHit}, Command{Line: "true", Config: s.config, Naming: pools.PrefixNaming(s.config.Prefix)}} {
		journal := s.interrupted(task, entry{Workspace: "w0", State: Begun})
		for range 2 {
			results, summary := s.run(task, journal, nil)
			is(t, results, "w0", Uncertain, "look yourself")
			is(t, results, "w1", Done, "")
			if summary.Done != 1 || summary.Uncertain != 1 {
				t.Errorf("%+v", summary)
			}
		}
		results, _ := s.run(task, journal, func(o *Options) { o.RetryUncertain = true })
		is(t, results, "w0", Done, "")
	}
	if s.hits("w0") != 1 || s.hits("w1") != 1 {
		t.Errorf("%d and %d rows", s.hits("w0"), s.hits("w1"))
	}
}

func TestCanariesThatWereDoneEarlierCount(t *testing.T) {
	s := setScene(t, 4)
	task := Transaction{insertHit + "; SELECT 1 / (CASE WHEN current_database() LIKE '%w1' THEN 0 ELSE 1 END)"}
	journal := s.interrupted(task, entry{Workspace: "w0", State: Done})
	results, summary := s.run(task, journal, func(o *Options) { o.Canary, o.Concurrency = 1, 1 })
	is(t, results, "w1", Failed, "division by zero")
	if summary.Done != 3 || len(summary.NotBegun) != 0 {
		t.Errorf("%+v", summary)
	}
	journal = s.interrupted(task, entry{Workspace: "w0", State: Done})
	_, summary = s.run(task, journal, func(o *Options) { o.Canary, o.Concurrency = 2, 1 })
	if !errors.Is(summary.Cause, pools.ErrCanaryFailed) || summary.Failed != 1 || !slices.Equal(summary.NotBegun, []model.WorkspaceID{"w2", "w3"}) {
		t.Errorf("%+v", summary)
	}
}

func TestTheServerAndThePanicOfATask(t *testing.T) {
	s := setScene(t, 2)
	if err := (Transaction{}).fits(server{version: 120_022}); err == nil || !strings.Contains(err.Error(), "--no-transaction") {
		t.Error(err)
	}
	results, summary := s.run(panics{}, "", nil)
	is(t, results, "w0", Failed, "it panicked: on purpose")
	if summary.Failed != 2 {
		t.Errorf("%+v", summary)
	}
}

type panics struct{}

func (panics) Sum() string                                       { return "panics" }
func (panics) fits(server) error                                 { return nil }
func (panics) do(context.Context, *run, *pools.Workspace) Result { panic("on purpose") }

// A disk that is full, say: nothing more begins, and nothing is taken for done that the
// journal does not know to be so.
func TestAJournalThatCannotBeWrittenEndsTheRun(t *testing.T) {
	s := setScene(t, 6)
	task := Transaction{insertHit}
	journal := s.interrupted(task)
	j, err := OpenJournal(journal, s.config.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(journal)
	if err != nil {
		t.Fatal(err)
	}
	writable := j.file
	defer writable.Close()
	j.file = readOnly
	defer j.Close()
	summary, err := Run(t.Context(), s.m, Options{Workspaces: s.ids, Task: task, Journal: j, Concurrency: 1, Timeout: patience})
	if err == nil || !strings.Contains(err.Error(), "write the journal") || summary.Failed != 1 || len(summary.NotBegun) != 5 {
		t.Errorf("%v %+v", err, summary)
	}
	for _, id := range s.ids {
		if s.hits(id) != 0 {
			t.Errorf("%s has a row", id)
		}
	}
}

func TestACommandIsEndedWithAllItsProcesses(t *testing.T) {
	s := setScene(t, 1)
	pid := filepath.Join(t.TempDir(), "pid")
	t.Setenv("PID_FILE", pid)
	command := Command{Line: `sleep 1000 & echo $! > "$PID_FILE"; wait`, Config: s.config, Naming: pools.PrefixNaming(s.config.Prefix)}
	results, _ := s.run(command, "", func(o *Options) { o.Timeout = 3 * time.Second })
	is(t, results, "w0", Uncertain, "deadline exceeded")
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		state, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(text)), "stat"))
		if err != nil || strings.Contains(string(state), ") Z ") { // nobody may reap it here
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it lives on")
		}
		time.Sleep(time.Millisecond)
	}
}

// What DB_PARAMETERS says of TLS wins over the variables, as it does for the pool: without its
// authority a command could not check the server, or would with another one.
func TestACommandHasTheTLSOfDBParameters(t *testing.T) {
	t.Setenv("PGSSLROOTCERT", "/other.pem")
	t.Setenv("PGSSLSNI", "0")
	c := Command{Naming: pools.PrefixNaming("x")}
	c.Config = model.Config{Host: "db", Port: 5432, User: "me", SSLMode: "verify-full",
		Parameters: `sslrootcert='/etc/my ca.pem' sslcert=/c.pem sslkey=/k.pem channel_binding=require search_path=app`}
	environment, err := c.environment("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"PGSSLROOTCERT=/etc/my ca.pem", "PGSSLCERT=/c.pem", "PGSSLKEY=/k.pem", "PGCHANNELBINDING=require", "PGSSLSNI=0",
		"DATABASE_URL=postgres://me@db:5432/x_ws_a?sslcert=%2Fc.pem&sslkey=%2Fk.pem&sslmode=verify-full&sslrootcert=%2Fetc%2Fmy%20ca.pem",
	} {
		if !slices.Contains(environment, want) {
			t.Errorf("there is no %s", want) // the rest may hold secrets
		}
	}
}

func TestDatabaseURL(t *testing.T) {
	cfg := model.Config{Host: "db", Port: 5433, User: "me", Password: "p@ss/ wörd", SSLMode: "require"}
	for _, test := range []struct{ host, attrs, want string }{
		{"db", "any", "postgres://me:p%40ss%2F%20w%C3%B6rd@db:5433/x_ws_a-b?sslmode=require"},
		{"::1", "", "postgres://me:p%40ss%2F%20w%C3%B6rd@[::1]:5433/x_ws_a-b?sslmode=require"},
		{"/run/pg", "", "postgres://me:p%40ss%2F%20w%C3%B6rd@/x_ws_a-b?host=%2Frun%2Fpg&port=5433&sslmode=require"},
		{"a,b:7", "primary", "postgres://me:p%40ss%2F%20w%C3%B6rd@/x_ws_a-b?host=a%2Cb&port=5433%2C7&sslmode=require&target_session_attrs=primary"},
	} {
		cfg.Host, cfg.TargetSessionAttrs = test.host, test.attrs
		if got := databaseURL(cfg, "x_ws_a-b", nil); got != test.want {
			t.Errorf("%s\n%s", got, test.want)
		}
	}
}

func TestReadWorkspacesNamesWhatIsWrong(t *testing.T) {
	ids, err := ReadWorkspaces(strings.NewReader("a\n\n # c\n  b \r\n"))
	if err != nil || !slices.Equal(ids, []model.WorkspaceID{"a", "b"}) {
		t.Error(ids, err)
	}
	_, err = ReadWorkspaces(strings.NewReader("a\nb c\na\n"))
	if err == nil || err.Error() != "line 2: workspace id \"b c\": byte 1 (' ') is not one of A-Z a-z 0-9 _ -\nline 3: workspace \"a\" is in line 1 already" {
		t.Error(err)
	}
	_, err = ReadWorkspaces(strings.NewReader(strings.Repeat("?\n", 1000)))
	if n := strings.Count(fmt.Sprint(err), "line"); n != wrongAtMost {
		t.Errorf("%d lines", n)
	}
}
