package clients

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// long asks for the long form, in which every program must be there.
var long = os.Getenv("TENANTPOOL_TEST_LONG") == "1"

var server *localpg.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: 103, InMemory: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// place is where clients connect.
type place struct {
	name           string // direct, transaction or session
	host           string
	port           int
	user, password string
	database       string
}

// everywhere runs a test at each place, with a fresh database.
func everywhere(t *testing.T, test func(t *testing.T, at place)) {
	t.Helper()
	at(t, test, "direct", "transaction", "session")
}

// at runs a test at some places.
func at(t *testing.T, test func(t *testing.T, at place), names ...string) {
	t.Helper()
	wanted := os.Getenv("TENANTPOOL_TEST_PLACES")
	for _, name := range names {
		if wanted != "" && !strings.Contains(wanted, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p := place{name: name, host: server.Host, port: server.Port, user: server.User, password: server.Password}
			if name != "direct" {
				p.host, p.port = openDoor(t, name)
			}
			p.database = freshDatabase(t)
			test(t, p)
		})
	}
}

var databases int

// freshDatabase is empty, and belongs to the application role.
func freshDatabase(t *testing.T) string {
	t.Helper()
	databases++
	name := fmt.Sprint("clients_", databases)
	if err := server.CreateDatabases(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// environment is libpq's, which most clients know.
func (p place) environment() []string {
	return []string{
		"PGHOST=" + p.host, "PGPORT=" + strconv.Itoa(p.port), "PGUSER=" + p.user, "PGPASSWORD=" + p.password,
		"PGDATABASE=" + p.database, "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=20", "PSQLRC=/dev/null",
	}
}

func (p place) url() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(p.user, p.password), Path: p.database,
		Host: net.JoinHostPort(p.host, strconv.Itoa(p.port)), RawQuery: "sslmode=disable",
	}
	return u.String()
}

// patience is more than any program needs here.
const patience = 4 * time.Minute

// command is a program that finds this place in its environment.
func (p place) command(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), p.environment()...)
	return cmd
}

// run runs a program that must succeed, and returns what it said.
func (p place) run(t *testing.T, input, path string, args ...string) string {
	t.Helper()
	said, err := p.try(t, input, path, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, said)
	}
	return said
}

// try runs a program and returns what it said, errors and all.
func (p place) try(t *testing.T, input, path string, args ...string) (string, error) {
	t.Helper()
	cmd := p.command(t, path, args...)
	cmd.Stdin = strings.NewReader(input)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	return said.String(), err
}

// program finds a program, by name or path: the first that is there. Without it the test
// is skipped; CI fails over that.
func program(t *testing.T, debian string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: apt-get install %s, or the like", names[0], debian)
	return ""
}

// ofPostgreSQL finds one of PostgreSQL's own programs, which Debian does not put on the
// PATH, or not in the server's version.
func ofPostgreSQL(t *testing.T, name string) string {
	t.Helper()
	config, err := exec.LookPath("pg_config")
	names := []string{name}
	if err == nil {
		if folder, err := exec.Command(config, "--bindir").Output(); err == nil {
			names = append([]string{strings.TrimSpace(string(folder)) + "/" + name}, names...)
		}
	}
	return program(t, "postgresql-client", append(names, "/usr/lib/postgresql/15/bin/"+name)...)
}

// onlyLong skips what takes long.
func onlyLong(t *testing.T) {
	t.Helper()
	if !long {
		t.Skip("only with TENANTPOOL_TEST_LONG=1")
	}
}

// same fails the test unless a client said what it should, and shows where it begins to
// say something else.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	is, should := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	for i := range max(len(is), len(should)) {
		if i < len(is) && i < len(should) && is[i] == should[i] {
			continue
		}
		show := func(lines []string) string {
			return strings.Join(lines[min(max(i-3, 0), len(lines)):min(i+6, len(lines))], "\n")
		}
		t.Errorf("%s, from line %d:\n%s\n-- should be\n%s", what, i+1, show(is), show(should))
		return
	}
}
