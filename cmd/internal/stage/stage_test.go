package stage

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

func TestMain(m *testing.M) {
	if memory := localpg.Memory(); memory != "" && os.Getenv("TMPDIR") == "" {
		_ = os.Setenv("TMPDIR", memory) // for the servers
	}
	goleak.VerifyTestMain(m)
}

// setStage is for one test.
func setStage(t *testing.T, o Options) (*Stage, *Console) {
	t.Helper()
	dir := t.TempDir() // every user may enter it: started by root, the server runs as another one
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", dir)
	con := StartConsole(io.Discard)
	t.Cleanup(con.Stop)
	s, err := Set(t.Context(), o, con)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(con); err != nil {
			t.Error(err)
		}
	})
	return s, con
}

// The one connection more is refused, and the log tells.
func TestTheServerGrantsTheBudgetAndNotOneMore(t *testing.T) {
	s, _ := setStage(t, Options{Workspaces: 3, Budget: 4})
	watch, _, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for i := range 5 {
		conn, err := pgx.ConnectConfig(t.Context(), s.LoginTo(i%3))
		if err == nil {
			defer HangUp(conn)
		}
		if (err == nil) != (i < 4) || i == 4 && KindOf(err) != pgerrcode.TooManyConnections {
			t.Errorf("connection %d: %v", i+1, err)
		}
	}
	if n, err := watch.Count(t.Context()); n != 4 || err != nil {
		t.Errorf("the server counts %d connections, %v", n, err)
	}
	if n := s.Refusals(); n != 1 {
		t.Errorf("its log has %d refusals", n)
	}
}

func TestADSNThatIsNotUnderstoodIsNotShown(t *testing.T) {
	con := StartConsole(io.Discard)
	defer con.Stop()
	_, err := Set(t.Context(), Options{DSN: "postgres://me:hunter2@%zz/db"}, con)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "--dsn is not understood") {
		t.Error(err)
	}
}

func TestTheTLSModeIsTakenFromTheDSN(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for dsn, want := range map[string]string{
		"postgres://h/db?sslmode=verify-full": "verify-full",
		"host=h sslmode = 'require' user=u":   "require",
		"host=h":                              "prefer",
	} {
		if got := sslMode(dsn); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
	t.Setenv("PGSSLMODE", "allow")
	if got := sslMode("host=h"); got != "allow" {
		t.Errorf("with PGSSLMODE: %s", got)
	}
}

func TestRefusalsInTheServersLog(t *testing.T) {
	const log = `2026-01-02 03:04:05.678 UTC [1] 57P03 FATAL:  the database system is starting up
2026-01-02 03:04:05.678 UTC [1] 53300 FATAL:  sorry, too many clients already
2026-01-02 03:04:05.678 UTC [2] 53300 FATAL:  remaining connection slots are reserved for non-replication superuser connections
2026-01-02 03:04:05.678 UTC [3] 57P01 FATAL:  terminating connection due to administrator command`
	if n := refusalsIn(log); n != 2 {
		t.Errorf("%d refusals, want 2", n)
	}
}
