//go:build unix

package localpg

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func code(err error) string {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return fmt.Sprintf("no answer of the server: %v", err)
}

func TestAFreshServer(t *testing.T) {
	t.Parallel()
	prefix := `it's \ %p `
	s := started(t, Options{MaxConnections: 12, Settings: map[string]string{
		"log_statement":   "all", // also Start's own statements
		"log_line_prefix": prefix,
		"WORK_MEM":        "3MB",
	}})

	t.Run("takes a login by scram only", func(t *testing.T) {
		conn := login(t, s)
		if got := value[string](t, conn, "SELECT current_user || '@' || current_database()"); got != "tenantpool@tenantpool" {
			t.Errorf("logged in as %s", got)
		}
		conn, err := s.connect(deadline(t), s.dsn(s.User, "wrong", s.Database))
		if err == nil {
			HangUp(conn)
			t.Error("a wrong password was accepted")
		} else if got := code(err); got != "28P01" {
			t.Errorf("a wrong password is refused with %s, want 28P01", got)
		}
		admin := opened(t, s, s.SuperuserDSN())
		if n := value[int](t, admin, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method IS DISTINCT FROM 'scram-sha-256'"); n != 0 {
			t.Errorf("%d lines of pg_hba.conf let somebody in without scram", n)
		}
		if n := value[int](t, admin, "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'"); n != 2 {
			t.Errorf("%d roles have a scram password, want 2", n)
		}
		if got := value[string](t, admin, "SELECT current_setting('password_encryption')"); got != "scram-sha-256" {
			t.Errorf("password_encryption is %s", got)
		}
	})

	t.Run("grants max_connections less three, and Start's own are gone", func(t *testing.T) {
		for range 9 {
			login(t, s)
		}
		conn, err := s.connect(deadline(t), s.dsn(s.User, s.Password, s.Database))
		if err == nil {
			HangUp(conn)
			t.Fatal("a tenth connection was granted, 12-3 are allowed")
		}
		if got := code(err); got != "53300" {
			t.Errorf("the tenth connection is refused with %s, want 53300", got)
		}
		watcher := opened(t, s, s.SuperuserDSN())
		if n := value[int](t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tenantpool'"); n != 9 {
			t.Errorf("the superuser sees %d connections on the full server, want 9", n)
		}
	})

	t.Run("the application role is no superuser and owns the system database", func(t *testing.T) {
		conn := login(t, s)
		if got := value[string](t, conn, "SELECT format('%s %s %s %s', rolsuper, rolcreatedb, rolcreaterole, rolconnlimit) FROM pg_roles WHERE rolname = current_user"); got != "f t f -1" {
			t.Errorf("superuser, createdb, createrole, limit: %s", got)
		}
		if got := value[string](t, conn, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"); got != s.User {
			t.Errorf("the system database belongs to %s", got)
		}
		execute(t, conn, "CREATE TABLE owned (id int)")
		execute(t, conn, "CREATE DATABASE by_the_application")
	})

	t.Run("settings", func(t *testing.T) {
		admin := opened(t, s, s.SuperuserDSN())
		for name, want := range map[string]string{
			"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "jit": "off",
			"wal_level": "minimal", "dynamic_shared_memory_type": "mmap", "max_wal_senders": "0",
			"listen_addresses": "127.0.0.1", "unix_socket_directories": "",
			"max_connections": "12", "superuser_reserved_connections": "3",
			"port": strconv.Itoa(s.Port), "work_mem": "3MB", "log_line_prefix": prefix,
			"server_encoding": "UTF8", "lc_messages": "C",
		} {
			if got := value[string](t, admin, "SELECT current_setting($1)", name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if got := value[string](t, admin, "SELECT datcollate FROM pg_database WHERE datname = 'tenantpool'"); got != "C" {
			t.Errorf("the collation is %s, want C", got)
		}
	})

	t.Run("creates databases with odd names", func(t *testing.T) {
		names := []string{"a-b", "a_b", `quo"te`, `quo'te`, "Ünïcödé", "with space", "semi;colon", "UPPER", "%s$1", strings.Repeat("n", 63)}
		if err := s.CreateDatabases(deadline(t), names...); err != nil {
			t.Fatal(err)
		}
		admin := opened(t, s, s.SuperuserDSN())
		if n := value[int](t, admin, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres'"); n != 1 {
			t.Errorf("%d superuser connections after CreateDatabases, want my own only", n)
		}
		if n := value[int](t, admin, "SELECT count(*) FROM pg_database WHERE datname = ANY($1) AND pg_get_userbyid(datdba) = $2", names, s.User); n != len(names) {
			t.Errorf("%d databases of the application role, want %d", n, len(names))
		}
		for _, refused := range []string{"", strings.Repeat("x", 64), "nul\x00", "\xff", "a-b"} {
			if err := s.CreateDatabases(deadline(t), refused); err == nil {
				t.Errorf("the name %q was taken", refused)
			} else if !strings.Contains(err.Error(), strconv.Quote(refused)) && refused != "" {
				t.Errorf("the error does not name %q: %v", refused, err)
			}
		}
		rest := make([]string, 20)
		for i := range rest {
			rest[i] = fmt.Sprintf("rest%d", i)
		}
		if err := s.CreateDatabases(deadline(t), append([]string{"a-b"}, rest...)...); code(err) != "42P04" {
			t.Errorf("one of many that exists: %v", err)
		}
		if n := value[int](t, admin, "SELECT count(*) FROM pg_database WHERE datname = ANY($1)", rest); n == len(rest) {
			t.Error("a failure did not end it")
		}
		if err := s.CreateDatabases(deadline(t)); err != nil {
			t.Errorf("no names: %v", err)
		}
	})

	t.Run("shows no password", func(t *testing.T) {
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("started", "server", s)
		log := s.logSince(0)
		if !strings.Contains(log, "CREATE ROLE") {
			t.Error("the log lacks the statement that this test is about")
		}
		for where, text := range map[string]string{
			"%v": fmt.Sprintf("%v", s), "%+v": fmt.Sprintf("%+v", s), "%#v": fmt.Sprintf("%#v", s),
			"slog": logged.String(), "the server's log": log,
		} {
			if strings.Contains(text, s.Password) || strings.Contains(text, s.superuserPassword) {
				t.Errorf("%s shows a password", where)
			}
		}
		if tail := s.LogTail(); tail == "" || strings.Count(tail, "\n") >= tailLines || !strings.HasSuffix(strings.TrimSpace(log), tail) {
			t.Errorf("LogTail is not the log's end: %q", tail)
		}
		for _, place := range entries(t, s.folder) {
			if name := filepath.Base(place); name != dataFolder && name != logFile {
				t.Errorf("%s is left in the server's folder", name)
			}
		}
	})
}

func TestHangUpWaitsForTheServer(t *testing.T) {
	s := shared(t)
	watcher := opened(t, s, s.SuperuserDSN())
	conn, err := s.connect(deadline(t), s.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	pid := value[int](t, conn, "SELECT pg_backend_pid()")
	// Dropping these keeps the backend busy on its way out.
	execute(t, conn, "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE 'CREATE TEMP TABLE t' || i || ' (id int)'; END LOOP; END $$")
	HangUp(conn)
	if n := value[int](t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid); n != 0 {
		t.Error("the connection still takes a place on the server")
	}
}

func TestThePortIsTakenInBetween(t *testing.T) {
	// A stranger that accepts and never speaks.
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	taken := stranger.Addr().(*net.TCPAddr).Port

	asked := 0
	s, err := start(deadline(t), Options{InMemory: true}, machine{places: usualPlaces(), port: func() (int, error) {
		if asked++; asked == 1 {
			return taken, nil
		}
		return freePort()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	if asked != 2 || s.Port == taken {
		t.Errorf("asked for a port %d times and got %d", asked, s.Port)
	}
	login(t, s)

	if err := s.Shutdown(deadline(t), Fast); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := s.Resume(deadline(t)); !errors.Is(err, errPortTaken) || !strings.Contains(err.Error(), strconv.Itoa(s.Port)) {
		t.Errorf("Resume on a taken port: %v", err)
	}
	_ = other.Close()
	if err := s.Resume(deadline(t)); err != nil {
		t.Errorf("Resume once the port is free again: %v", err)
	}
	login(t, s)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAFailedStartLeavesNothing(t *testing.T) {
	dir := openTemp(t)
	t.Setenv("TMPDIR", dir)
	check := func(t *testing.T, s *Server, err error, want string) {
		t.Helper()
		if err == nil {
			_ = s.Stop()
			t.Fatal("it started")
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
		if left := entries(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}

	t.Run("a setting that the server does not know", func(t *testing.T) {
		s, err := Start(deadline(t), Options{Settings: map[string]string{"no_such_setting": "1"}})
		check(t, s, err, `unrecognized configuration parameter "no_such_setting"`)
	})
	t.Run("max_connections too small", func(t *testing.T) {
		if !long {
			t.Skip("it is as with a setting that the server does not know")
		}
		s, err := Start(deadline(t), Options{MaxConnections: 3})
		check(t, s, err, "superuser_reserved_connections (3) must be less than max_connections (3)")
	})
	t.Run("cancelled during initdb", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(deadline(t))
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for pause(ctx) == nil {
				if found, _ := filepath.Glob(filepath.Join(dir, "*", dataFolder, "base")); len(found) > 0 {
					cancel(errors.New("I have seen enough"))
				}
			}
		}()
		s, err := Start(ctx, Options{})
		check(t, s, err, "initdb did not finish: I have seen enough")
		<-watched
	})
	t.Run("cancelled before the server answers", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(deadline(t))
		s, err := start(ctx, Options{}, machine{places: usualPlaces(), port: func() (int, error) {
			cancel(errors.New("I have seen enough"))
			return freePort()
		}})
		check(t, s, err, "I have seen enough")
	})
	t.Run("no port", func(t *testing.T) {
		if !long {
			t.Skip("it is as when it is cancelled then")
		}
		s, err := start(deadline(t), Options{}, machine{places: usualPlaces(), port: func() (int, error) {
			return 0, errors.New("no port today")
		}})
		check(t, s, err, "no port today")
	})
}

func TestAServerInMemoryLiesInMemoryIfThereIsRoom(t *testing.T) {
	t.Setenv("TMPDIR", openTemp(t))
	who, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	for inMemory, want := range map[bool]string{false: os.TempDir(), true: cmp.Or(Memory(), os.TempDir())} {
		folder, err := nameFolder(who, inMemory)
		if err != nil || filepath.Dir(folder) != want {
			t.Errorf("in memory %v: %s, want it in %s (%v)", inMemory, folder, want, err)
		}
	}
}

func TestRootsFolderIsWhereTheServerMayGo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts the server as another user")
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", closed)
	s, err := Start(deadline(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	if filepath.Dir(s.folder) != "/tmp" {
		t.Errorf("the folder is %s", s.folder)
	}
	if info, err := os.Stat(s.folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode: %v %v", info, err)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{MaxConnections: -1}, "Options.MaxConnections is -1"},
		{Options{Settings: map[string]string{"Max_Connections": "5"}}, "use Options.MaxConnections"},
		{Options{Settings: map[string]string{"listen_addresses": "*"}}, "127.0.0.1 only"},
		{Options{Settings: map[string]string{"a = 1\nb": "2"}}, "not the name of a setting"},
	} {
		s, err := Start(t.Context(), test.options)
		if err == nil {
			_ = s.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.options, err, test.want)
		}
	}
}
