package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/work"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// execStage is a server with workspaces, and the environment of exec set to it.
type execStage struct {
	t   *testing.T
	ids []model.WorkspaceID
	// look sees the databases as a superuser.
	look *pools.Manager
}

// setExec makes n workspaces, w000 and so on, each with an empty table hits.
func setExec(t *testing.T, n int) *execStage {
	t.Helper()
	pg := shared.Server(t)
	prefix := strings.ToLower(rand.Text()[:8])
	var databases []string
	s := &execStage{t: t}
	for i := range n {
		id := fmt.Sprintf("w%03d", i)
		s.ids = append(s.ids, model.WorkspaceID(id))
		databases = append(databases, prefix+"_ws_"+id)
	}
	if err := pg.CreateDatabases(t.Context(), databases...); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"DB_PREFIX": prefix, "DB_HOST": pg.Host, "DB_PORT": fmt.Sprint(pg.Port), "DB_USER": pg.User,
		"DB_PASSWORD": pg.Password, "DB_NAME": pg.Database, "DB_SSLMODE": "disable", "DB_MAX_CONNECTIONS": "",
	} {
		t.Setenv(name, value)
	}
	s.look = asSuperuser(t, pg, prefix)
	if status, _, stderr := s.exec("--all", "--sql", "CREATE TABLE hits (n int)"); status != 0 {
		t.Fatal(status, stderr)
	}
	return s
}

// exec runs the command in this process.
func (s *execStage) exec(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(s.t.Context(), append([]string{"exec"}, args...), &out, &err)
	return status, out.String(), err.String()
}

// hits counts the rows of each workspace.
func (s *execStage) hits() map[model.WorkspaceID]int {
	s.t.Helper()
	hits := map[model.WorkspaceID]int{}
	for _, id := range s.ids {
		n := 0
		if err := s.look.Workspace(id).QueryRow(s.t.Context(), "SELECT count(*) FROM hits").Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		hits[id] = n
	}
	return hits
}

// haveHits checks that the workspaces have so many rows each.
func (s *execStage) haveHits(ids []model.WorkspaceID, want int) {
	s.t.Helper()
	hits := s.hits()
	for _, id := range ids {
		if hits[id] != want {
			s.t.Errorf("%s has %d rows, want %d", id, hits[id], want)
		}
	}
}

const insertHit = "INSERT INTO hits VALUES (1)"

func TestExecIsResumedAfterEachKill(t *testing.T) {
	s := setExec(t, 64)
	journal := filepath.Join(t.TempDir(), "j")
	args := []string{"exec", "--all", "--journal", journal, "--concurrency", "6", "--sql", insertHit + "; SELECT pg_sleep(0.01)"}
	size := func() int64 {
		info, err := os.Stat(journal)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	kills := 0
	for ; kills < 5; kills++ {
		// Its lines have 100 to 140 bytes, three for a workspace.
		until := size() + mathrand.Int64N(2500)
		p := start(t, args...)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ok := true; ok; {
				_, ok = p.next()
			}
		}()
		over := false
		eventually(t, "it writes its journal or ends", func() bool {
			select {
			case <-ended:
				over = true
			default:
			}
			return over || size() > until
		})
		_ = p.cmd.Process.Kill()
		<-ended
		if _ = p.cmd.Wait(); over && p.cmd.ProcessState.ExitCode() == 0 {
			break
		}
	}
	p := start(t, append(args, "--json")...)
	if status := p.exit(); status != 0 {
		t.Fatalf("exit status %d:\n%s", status, p.stderr())
	}
	if kills < 1 {
		t.Error("it was never killed")
	}
	t.Logf("killed %d times", kills)
	s.haveHits(s.ids, 1)
	// Once more, it has nothing to do.
	if status, stdout, stderr := s.exec(args[1:]...); status != 0 || !strings.HasPrefix(stdout, "64 workspaces: 64 done (64 of them earlier)") {
		t.Error(status, stdout, stderr)
	}
	s.haveHits(s.ids, 1)
}

func TestExecStopsForCanariesAndFailures(t *testing.T) {
	s := setExec(t, 12)
	// It fails in w002 and w005.
	const sql = insertHit + "; SELECT 1 / (CASE WHEN current_database() ~ 'w00[25]$' THEN 0 ELSE 1 END)"
	status, stdout, stderr := s.exec("--all", "--sql", sql, "--concurrency", "1", "--canary", "4")
	if status != 1 || !strings.Contains(stdout, "12 workspaces: 2 done, 1 failed, 9 not begun") || !strings.Contains(stdout, "a canary failed") ||
		!strings.Contains(stderr, "w002: failed") || !strings.Contains(stderr, "division by zero") {
		t.Error(status, stdout, stderr)
	}
	s.haveHits(s.ids[:2], 1)
	s.haveHits(s.ids[2:], 0)

	status, stdout, _ = s.exec("--all", "--sql", sql, "--concurrency", "1", "--stop-after", "2", "--json")
	if status != 1 {
		t.Error(status)
	}
	s.haveHits([]model.WorkspaceID{"w003", "w004"}, 1)
	s.haveHits([]model.WorkspaceID{"w002", "w005", "w006", "w011"}, 0)
	var states []work.State
	var summary struct{ Summary execSummary }
	for line := range strings.Lines(stdout) {
		var result work.Result
		if err := json.Unmarshal([]byte(line), &summary); err != nil {
			t.Fatal(err, line)
		}
		if _ = json.Unmarshal([]byte(line), &result); result.Workspace != "" {
			states = append(states, result.State)
		}
	}
	want := []work.State{"done", "done", "failed", "done", "done", "failed", "not begun", "not begun", "not begun", "not begun", "not begun", "not begun"}
	if got := summary.Summary; !slices.Equal(states, want) || got.Done != 4 || got.Failed != 2 || got.NotBegun != 6 || got.Workspaces != 12 || !strings.Contains(got.Cause, "as StopAfter allows") {
		t.Errorf("%v %+v", states, got)
	}
}

func TestExecInAWorkspaceWithoutADatabase(t *testing.T) {
	s := setExec(t, 3)
	file := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(file, []byte("# customers\nw000\n\nnobody\r\n w002 \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := s.exec("--workspaces", file, "--sql", insertHit)
	if status != 1 || !strings.Contains(stdout, "3 workspaces: 2 done, 1 failed") || !strings.Contains(stderr, "nobody: failed") || !strings.Contains(stderr, "does not exist") {
		t.Error(status, stdout, stderr)
	}
	s.haveHits([]model.WorkspaceID{"w000", "w002"}, 1)
	s.haveHits([]model.WorkspaceID{"w001"}, 0)
}

func TestExecDryRun(t *testing.T) {
	s := setExec(t, 4)
	journal := filepath.Join(t.TempDir(), "j")
	ids := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(ids, []byte("w001\nw003\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := s.exec("--workspaces", ids, "--sql", insertHit, "--journal", journal); status != 0 {
		t.Fatal(stderr)
	}
	before, _ := os.ReadFile(journal)
	status, stdout, stderr := s.exec("--all", "--dry-run", "--sql", insertHit, "--journal", journal)
	if want := "w000\trun\nw001\tskip: done\nw002\trun\nw003\tskip: done\n"; status != 0 || stdout != want || !strings.Contains(stderr, "it would run in 2 of 4 workspaces, skip 2") {
		t.Error(status, stdout, stderr)
	}
	if after, _ := os.ReadFile(journal); !bytes.Equal(before, after) {
		t.Error("the journal was changed")
	}
	s.haveHits([]model.WorkspaceID{"w000", "w002"}, 0)
	s.haveHits([]model.WorkspaceID{"w001", "w003"}, 1)

	missing := filepath.Join(t.TempDir(), "j")
	if status, stdout, stderr := s.exec("--workspaces", ids, "--dry-run", "--sql", insertHit, "--journal", missing); status != 0 || stdout != "w001\trun\nw003\trun\n" {
		t.Error(status, stdout, stderr)
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dry run has made a journal: %v", err)
	}
	if status, _, stderr := s.exec("--workspaces", ids, "--dry-run", "--sql", insertHit, "--journal", filepath.Join(missing, "j")); status == 0 {
		t.Errorf("a folder that is not there will not do for the run either: %s", stderr)
	}
}

func TestExecRefusesAWrongCommandLine(t *testing.T) {
	s := setExec(t, 1)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	journal := filepath.Join(dir, "j")
	if status, _, stderr := s.exec("--all", "--sql", "SELECT 1", "--journal", journal); status != 0 {
		t.Fatal(stderr)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--all"}, "one of --sql, --file and --command"},
		{[]string{"--all", "--sql", insertHit, "--file", "f"}, "one of --sql, --file and --command"},
		{[]string{"--sql", insertHit}, "either --all or --workspaces"},
		{[]string{"--all", "--workspaces", "f", "--sql", insertHit}, "either --all or --workspaces"},
		{[]string{"--all", "--file", filepath.Join(dir, "missing.sql")}, "no such file"},
		{[]string{"--all", "--file", file("empty", " \n")}, "empty is empty: there is nothing to do"},
		{[]string{"--all", "--sql", " "}, "--sql is empty: there is nothing to do"},
		{[]string{"--workspaces", filepath.Join(dir, "missing"), "--sql", insertHit}, "no such file"},
		{[]string{"--workspaces", file("bad", "w000\nno/such\nw000\n"), "--sql", insertHit}, "line 2"},
		{[]string{"--workspaces", file("twice", "w000\nno/such\nw000\n"), "--sql", insertHit}, `line 3: workspace "w000" is in line 1 already`},
		{[]string{"--workspaces", file("none", "# w000\n"), "--sql", insertHit}, "no workspace in it"},
		{[]string{"--all", "--command", "true", "--no-transaction"}, "--no-transaction is about SQL"},
		{[]string{"--all", "--sql", insertHit, "--retry-uncertain"}, "--journal"},
		{[]string{"--all", "--sql", insertHit, "--concurrency", "0"}, "from 1 to 1000"},
		{[]string{"--all", "--sql", insertHit, "--timeout", "-1s"}, "0 (none) or a duration above"},
		{[]string{"--all", "--sql", insertHit, "--journal", journal}, "is of other work"},
		{[]string{"--all", "--sql", "SELECT 1", "--no-transaction", "--journal", journal}, "is of other work"},
		{[]string{"w000"}, "takes flags only"},
	} {
		status, stdout, stderr := s.exec(test.args...)
		if status != exitMisused || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: %d %s%s, want %s", test.args, status, stdout, stderr, test.want)
		}
	}
	s.haveHits(s.ids, 0)
	t.Setenv("DB_PREFIX", "nobodys")
	if status, _, stderr := s.exec("--all", "--sql", insertHit); status != 1 || !strings.Contains(stderr, "check DB_PREFIX") {
		t.Error(status, stderr)
	}
	if status, _, stderr := s.exec("--all", "--sql", "SELECT 1", "--journal", journal); status != exitMisused || !strings.Contains(stderr, "DB_PREFIX") {
		t.Error(status, stderr)
	}
}

// lockedHit waits in w001 for as long as the test holds its lock.
const lockedHit = insertHit + "; SELECT CASE WHEN current_database() ~ 'w001$' THEN pg_advisory_xact_lock(1) END"

// holdLock takes the lock in w001.
func (s *execStage) holdLock() (release func()) {
	s.t.Helper()
	conn, err := s.look.Acquire(s.t.Context(), "w001")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.Exec(s.t.Context(), "SELECT pg_advisory_lock(1)"); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if _, err := conn.Exec(s.t.Context(), "SELECT pg_advisory_unlock(1)"); err != nil {
			s.t.Error(err)
		}
		conn.Release()
	}
}

func (s *execStage) untilItWaits() {
	s.t.Helper()
	eventually(s.t, "w001 waits for the lock", func() bool {
		n := 0
		err := s.look.System().QueryRow(s.t.Context(), `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
			WHERE locktype = 'advisory' AND NOT granted AND datname LIKE '%w001' AND starts_with(datname, $1)`, os.Getenv("DB_PREFIX")).Scan(&n)
		return err == nil && n == 1
	})
}

func TestExecThatIsInterruptedFinishesWhatRuns(t *testing.T) {
	s := setExec(t, 8)
	release := s.holdLock()
	journal := filepath.Join(t.TempDir(), "j")
	args := []string{"exec", "--all", "--concurrency", "1", "--journal", journal, "--sql", lockedHit}
	p := start(t, args...)
	s.untilItWaits()
	p.interrupt()
	p.await("interrupted: nothing more begins")
	release()
	if status := p.exit(); status != exitInterrupted || !strings.Contains(p.stderr(), "--journal "+journal) {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if out := p.stdout.String(); !strings.Contains(out, "8 workspaces: 2 done, 6 not begun") || !strings.Contains(out, "not begun: w002 w003 w004 w005 w006 w007\n") {
		t.Error(out)
	}
	s.haveHits(s.ids[:2], 1)
	s.haveHits(s.ids[2:], 0)
	if status, stdout, stderr := s.exec(args[1:]...); status != 0 {
		t.Error(status, stdout, stderr)
	}
	s.haveHits(s.ids, 1)
}

func TestExecThatIsInterruptedTwiceCancels(t *testing.T) {
	s := setExec(t, 3)
	release := s.holdLock()
	journal := filepath.Join(t.TempDir(), "j")
	args := []string{"exec", "--all", "--concurrency", "1", "--journal", journal, "--sql", lockedHit}
	p := start(t, args...)
	s.untilItWaits()
	p.interrupt()
	p.await("interrupted: nothing more begins")
	p.interrupt()
	if status := p.exit(); status != exitInterrupted || !strings.Contains(p.stderr(), "interrupted again") || !strings.Contains(p.stdout.String(), "3 workspaces: 1 done, 1 failed, 1 not begun") {
		t.Errorf("exit status %d:\n%s\n%s", status, p.stderr(), &p.stdout)
	}
	release()
	if status, stdout, stderr := s.exec(args[1:]...); status != 0 {
		t.Error(status, stdout, stderr)
	}
	s.haveHits(s.ids, 1)
}

func TestExecRunsACommand(t *testing.T) {
	s := setExec(t, 3)
	dir := t.TempDir()
	t.Setenv("EXEC_TEST_DIR", dir)
	const command = `env > "$EXEC_TEST_DIR/$TENANTPOOL_WORKSPACE"; if [ $TENANTPOOL_WORKSPACE = w001 ]; then echo out; echo err >&2; exit 3; fi`
	status, stdout, stderr := s.exec("--all", "--command", command)
	if status != 1 || !strings.Contains(stdout, "2 done, 1 failed") || !strings.Contains(stderr, "w001: failed") || !strings.Contains(stderr, "exit status 3\n  | out\n  | err\n") {
		t.Error(status, stdout, stderr)
	}
	text, err := os.ReadFile(filepath.Join(dir, "w002"))
	if err != nil {
		t.Fatal(err)
	}
	database := os.Getenv("DB_PREFIX") + "_ws_w002"
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{
		"PGHOST=" + os.Getenv("DB_HOST"), "PGPORT=" + os.Getenv("DB_PORT"), "PGUSER=" + os.Getenv("DB_USER"), "PGPASSWORD=" + os.Getenv("DB_PASSWORD"),
		"PGDATABASE=" + database, "PGSSLMODE=disable",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "\nDB_PASSWORD=") {
		t.Error("it has DB_PASSWORD")
	}
	if password := os.Getenv("DB_PASSWORD"); strings.Contains(stdout+stderr, password) {
		t.Error("the password was shown")
	}
}

func TestExecGivesACommandThePasswordOfAFile(t *testing.T) {
	s := setExec(t, 1)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(os.Getenv("DB_PASSWORD")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WANT", os.Getenv("DB_PASSWORD"))
	t.Setenv("DB_PASSWORD", "")
	t.Setenv("DB_PASSWORD_FILE", file)
	const command = `test "$PGPASSWORD" = "$WANT" && case "$DATABASE_URL" in *":$WANT@"*) ;; *) exit 4 ;; esac`
	if status, stdout, stderr := s.exec("--all", "--command", command); status != 0 {
		t.Error(status, stdout, stderr)
	}
}

// All of exec's budget is batch work's: so many workspaces are worked on at once.
func TestExecHasConnectionsForItsConcurrency(t *testing.T) {
	t.Setenv("DB_AUTO_BUDGET", "90..200") // what the servers of the same environment have
	t.Setenv("DB_SOFT_MAX_CONNECTIONS_PER_DB", "2")
	for _, concurrency := range []int{1, 4, 50} {
		cfg, err := execConfig(concurrency)
		if err != nil {
			t.Fatal(err)
		}
		if most := cfg.WorkspaceLimits().Batch(); most < concurrency {
			t.Errorf("--concurrency %d: batch work may have %d connections", concurrency, most)
		}
	}
}
