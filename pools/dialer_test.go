package pools_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// They are meant for psql, and often set in a developer's shell.
func TestThePGVariablesOfAShellDecideNothing(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, value := range map[string]string{
		"PGHOST":               "no-such-host.invalid",
		"PGPORT":               "1",
		"PGUSER":               "somebody",
		"PGPASSWORD":           "wrong",
		"PGDATABASE":           "elsewhere",
		"PGSSLMODE":            "verify-full",
		"PGSERVICE":            "other",
		"PGSERVICEFILE":        file("services", "[other]\nhost=no-such-host.invalid\noptions=-c work_mem=77MB\ntarget_session_attrs=standby\nsearch_path=nowhere\n"),
		"PGPASSFILE":           file("passwords", "*:*:*:*:wrong\n"),
		"PGTARGETSESSIONATTRS": "standby",
		"PGOPTIONS":            "-c statement_timeout=77",
		"PGTZ":                 "Pacific/Chatham",
		"PGCONNECT_TIMEOUT":    "no number",
	} {
		t.Setenv(name, value)
	}
	m := open(t, config(20))
	for setting, unwanted := range map[string]string{
		"work_mem": "77MB", "search_path": "nowhere", "statement_timeout": "77ms", "timezone": "Pacific/Chatham",
	} {
		var value string
		if err := m.Workspace("w0").QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&value); err != nil || value == unwanted {
			t.Errorf("%s is %q (%v)", setting, value, err)
		}
	}
}

// A password that is left out is not made up from elsewhere.
func TestAnEmptyPasswordIsNotTakenFromTheEnvironment(t *testing.T) {
	t.Setenv("PGPASSWORD", server.Password)
	cfg := config(20)
	cfg.Password = ""
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger((&logBuffer{}).logger()))
	if err == nil {
		closeManager(t, m)
		t.Error("it was")
	}
}

// A dial that the manager itself calls off is no trouble worth a warning.
func TestCloseDuringADialLogsNoWarning(t *testing.T) {
	mute := startMuteServer(t)
	proxy := startProxy(t)
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", proxy.port()
	m := open(t, cfg)
	if err := m.System().Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.to.Store(&mute)
	waiter := make(chan error, 1)
	go func() { waiter <- m.Workspace("w0").Ping(context.Background()) }()
	eventually(t, "a dial is under way", func() bool { return stats(t, m).Workspaces.Dialing == 1 })
	began := time.Now()
	closeManager(t, m.Manager)
	if err := <-waiter; err == nil {
		t.Error("it was served")
	}
	t.Logf("Close took %v", time.Since(began))
	if strings.Contains(m.log.String(), "Dial failed") {
		t.Errorf("it was logged:\n%s", m.log)
	}
}

// startMuteServer accepts connections, and never says a word until they end.
func startMuteServer(t *testing.T) (address string) {
	t.Helper()
	return listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }).String()
}

// relay copies both ways until each side has ended, and closes both.
func relay(client, server net.Conn) {
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	copying.Wait()
	_ = server.Close()
}

// listen serves each connection to a port of its own on a goroutine, and closes it
// then. The test ends when all have ended.
func listen(t *testing.T, serve func(net.Conn)) *net.TCPAddr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				serve(conn)
				_ = conn.Close()
			})
		}
	})
	return listener.Addr().(*net.TCPAddr)
}
