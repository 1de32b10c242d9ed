package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pgxs finds a program of PostgreSQL's own test suite.
func pgxs(t *testing.T, name string) string {
	t.Helper()
	names := []string{"/usr/lib/postgresql/15/lib/pgxs/" + name}
	if config, err := exec.LookPath("pg_config"); err == nil {
		if file, err := exec.Command(config, "--pgxs").Output(); err == nil {
			folder := filepath.Dir(filepath.Dir(strings.TrimSpace(string(file)))) // it is pgxs/src/makefiles/pgxs.mk
			names = append(names, filepath.Join(filepath.Dir(folder), name))
		}
	}
	return program(t, "postgresql-server-dev-15", names...)
}

// isolationtester knows that a step waits by the process ids that libpq has been told,
// which are the door's, not the server's: its scripts must not wait. Those that do are in
// TestLocksAndDeadlocks.
func TestIsolationtester(t *testing.T) {
	tester := pgxs(t, "src/test/isolation/isolationtester")
	spec, err := os.ReadFile("testdata/isolation/serializable.spec")
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, at place) {
		golden(t, at, "isolation/serializable.out", at.run(t, string(spec), tester, "dbname="+at.database))
	})
}

func TestPgRegress(t *testing.T) {
	regress, psql := pgxs(t, "src/test/regress/pg_regress"), ofPostgreSQL(t, "psql")
	everywhere(t, func(t *testing.T, at place) {
		out := t.TempDir()
		for _, name := range []string{"sql/extended.sql", "expected/extended.out"} {
			text, err := os.ReadFile(filepath.Join("testdata/regress", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(out, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		said, err := at.try(t, "", regress, "--inputdir="+out, "--outputdir="+out, "--bindir="+filepath.Dir(psql), "--use-existing",
			"--dbname="+at.database, "--host="+at.host, "--port="+strconv.Itoa(at.port), "--user="+at.user, "extended")
		if *update && at.name == "direct" {
			text, err := os.ReadFile(filepath.Join(out, "results/extended.out"))
			if err == nil {
				err = os.WriteFile("testdata/regress/expected/extended.out", text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil {
			differences, _ := os.ReadFile(filepath.Join(out, "regression.diffs"))
			t.Fatalf("%v\n%s\n%s", err, said, differences)
		}
	})
}
