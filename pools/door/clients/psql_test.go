package clients

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what PostgreSQL itself says into testdata")

// golden compares what a client said with a file, which only PostgreSQL itself may write.
func golden(t *testing.T, at place, name, said string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update && at.name == "direct" {
		if err := os.WriteFile(path, []byte(said), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what it said", said, string(want))
}

// Of an error all is compared but where in PostgreSQL's sources it comes from; of a
// notification all but the number of the process.
var ofTheVersion = regexp.MustCompile(`(?m)^LOCATION: .*\n|(?: server process)? with PID \d+`)

func TestPsqlSaysTheSame(t *testing.T) {
	psql := ofPostgreSQL(t, "psql")
	script, err := os.ReadFile("testdata/psql.sql")
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, at place) {
		said := at.run(t, string(script), psql, "-X", "-a", "-q", "-P", "pager=off")
		golden(t, at, "psql.txt", ofTheVersion.ReplaceAllString(said, ""))
	})
}

func TestPsqlInOneTransaction(t *testing.T) {
	psql := ofPostgreSQL(t, "psql")
	everywhere(t, func(t *testing.T, at place) {
		file := filepath.Join(t.TempDir(), "all.sql")
		if err := os.WriteFile(file, []byte("CREATE TABLE a (n int);\nINSERT INTO a VALUES (1);\nSELECT 1/0;\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if said, err := at.try(t, "", psql, "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", file); err == nil || !strings.Contains(said, "division by zero") {
			t.Errorf("%v\n%s", err, said)
		}
		same(t, "the table", at.run(t, "SELECT to_regclass('a') IS NULL", psql, "-XAt"), "t")
		if err := os.WriteFile(file, []byte("CREATE TABLE a (n int);\nINSERT INTO a VALUES (1);\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		at.run(t, "", psql, "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", file)
		same(t, "the rows", at.run(t, "SELECT count(*) FROM a", psql, "-XAt"), "1")
	})
}

func TestPsqlIsInterrupted(t *testing.T) {
	psql := ofPostgreSQL(t, "psql")
	everywhere(t, func(t *testing.T, at place) {
		cmd := at.command(t, psql, "-X", "-At")
		cmd.Stdin = strings.NewReader("SELECT pg_sleep(1000) /* of " + at.name + " */;\nSELECT 'alive';\n")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it runs", func() bool {
			n := at.direct().run(t, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1000) /* of "+at.name+" */%' AND state = 'active'", psql, "-XAt")
			return strings.TrimSpace(n) == "1"
		})
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // a script that is interrupted may go on or not
		if !strings.Contains(said.String(), "canceling statement due to user request") {
			t.Errorf("it says\n%s", said.String())
		}
	})
}

// direct is the same database on the server itself.
func (p place) direct() place {
	p.name, p.host, p.port = "direct", server.Host, server.Port
	return p
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
