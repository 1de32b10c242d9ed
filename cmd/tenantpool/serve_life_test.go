package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/web"
)

// ownServer is for tests that stop it.
func ownServer(t *testing.T) *localpg.Server {
	t.Helper()
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: 40, InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	return pg
}

func (s *served) signal(signal os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// ended waits for the program's end and returns its status.
func (s *served) ended() int {
	<-s.logged
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// header returns a header of the answer to a GET.
func (s *served) header(path, name string) string {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	response, err := client.Get(s.url + path)
	if err != nil {
		s.t.Error(err)
		return ""
	}
	_ = response.Body.Close()
	if name == "Connection" && response.Close { // net/http takes it out
		return "close"
	}
	return response.Header.Get(name)
}

func TestReadyzSaysThatPostgreSQLIsFull(t *testing.T) {
	pg := ownServer(t)
	operator := asSuperuser(t, pg, "full").System()
	allow := func(connections int) {
		t.Helper()
		if _, err := operator.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %q CONNECTION LIMIT %d", pg.User, connections)); err != nil {
			t.Fatal(err)
		}
	}
	allow(0)
	t.Setenv("TENANTPOOL_SERVER_WAIT", patience.String())
	s := serveOn(t, pg, "Listening")
	const full = `{"status":"not ready","failed":["database server: it refuses connections: too many clients"]}`
	eventually(t, "it says so", func() bool {
		status, body := s.ask("", "/readyz", "")
		return status == http.StatusServiceUnavailable && strings.TrimSpace(body) == full
	})
	allow(-1)
	eventually(t, "it is ready", func() bool {
		status, _ := s.ask("", "/readyz", "")
		return status == http.StatusOK
	})
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}

func TestServeAnswersBeforePostgreSQLDoes(t *testing.T) {
	pg := ownServer(t)
	if err := pg.Shutdown(t.Context(), localpg.Fast); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DB_ACQUIRE_TIMEOUT", "1h") // nothing of this waits for it
	t.Setenv("TENANTPOOL_SERVER_WAIT", patience.String())
	s := serveOn(t, pg, "Listening")
	for _, step := range []struct {
		role       web.Role
		path, body string
		status     int
		want       string
	}{
		{"", "/healthz", "", 200, `{"status":"ok"}`},
		{"", "/readyz", "", 503, `{"status":"not ready","failed":["database server: it does not answer"]}`},
		{"", "/", "", 200, "<!"},
		{web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`, 503, "cannot be reached"},
		{web.Operator, "/api/workspace.list", "", 503, "the server has not answered since the program started"},
		{web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`, 503, "the server has not answered"},
		{web.Viewer, "/api/admin.connectionStats", "", 200, `"workspacePools":{}`},
	} {
		if status, body := s.ask(step.role, step.path, step.body); status != step.status || !strings.Contains(body, step.want) {
			t.Errorf("%s: %d %.300s, want %d %s", step.path, status, body, step.status, step.want)
		}
	}
	if !strings.Contains(s.answers.String(), "Retry-After: 5") {
		t.Errorf("nobody is told when to try again: %s", &s.answers)
	}
	if err := pg.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() bool {
		status, _ := s.ask("", "/readyz", "")
		return status == http.StatusOK
	})
	eventually(t, "it serves", func() bool {
		status, _ := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`)
		return status == http.StatusCreated
	})
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}

func TestAReloadSaysThatNobodyHasCheckedTheCredentials(t *testing.T) {
	pg := ownServer(t)
	if err := pg.Shutdown(t.Context(), localpg.Fast); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DB_ACQUIRE_TIMEOUT", "100ms") // a reload waits for an attempt to meet the server
	t.Setenv("TENANTPOOL_SERVER_WAIT", patience.String())
	s := serveOn(t, pg, "Listening")
	reloads := func(want string) {
		t.Helper()
		before := len(s.stderr())
		s.signal(syscall.SIGHUP)
		eventually(t, "the credentials are reloaded", func() bool { return strings.Contains(s.stderr()[before:], `"what":"credentials"`) })
		if !strings.Contains(s.stderr()[before:], want) {
			t.Errorf("it does not say %s:\n%s", want, s.stderr()[before:])
		}
	}
	reloads(`{"changed":[],"checked":"no: PostgreSQL has not answered yet, and tries them when it does","level":"info","message":"Reloaded"`)
	if err := pg.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it serves", func() bool { return strings.Contains(s.stderr(), `"message":"Serving"`) })
	reloads(`"unchanged":[],"variables_as_at_start":["DB_USER","DB_PASSWORD"],"what":"credentials"`)
	if n := strings.Count(s.stderr(), `"checked":`); n != 1 {
		t.Errorf("it says %d times that nothing was checked:\n%s", n, s.stderr())
	}
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}

func TestServeDoesNotWaitForPostgreSQLForEver(t *testing.T) {
	pg := ownServer(t)
	if err := pg.Shutdown(t.Context(), localpg.Fast); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TENANTPOOL_SERVER_WAIT", "200ms")
	t.Setenv("TENANTPOOL_SHUTDOWN_DELAY", "1h") // for nobody was served
	s := serveOn(t, pg, "Listening")
	status, why := s.ended(), whyEnded(t, s.stderr())
	if status != 1 || !strings.Contains(why, "within 200ms (TENANTPOOL_SERVER_WAIT)") || !strings.Contains(why, "connection refused") {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	t.Setenv("TENANTPOOL_SERVER_WAIT", "0s")
	t.Setenv("DB_ACQUIRE_TIMEOUT", "300ms")
	s = serveOn(t, pg, "Listening")
	status, why = s.ended(), whyEnded(t, s.stderr())
	if status != 1 || !strings.Contains(why, "within 300ms (the one attempt of TENANTPOOL_SERVER_WAIT=0s)") || !strings.Contains(why, "connection refused") {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	// One that refuses the login is not waited for.
	if err := pg.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DB_ACQUIRE_TIMEOUT", "")
	t.Setenv("TENANTPOOL_SHUTDOWN_DELAY", "")
	s = serveOn(t, pg, "Serving") // one attempt was enough
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	t.Setenv("TENANTPOOL_SERVER_WAIT", "1h")
	t.Setenv("TENANTPOOL_SHUTDOWN_DELAY", "1h")
	wrong := *pg
	wrong.Password = "not-the-password"
	s = serveOn(t, &wrong, "Listening")
	status, why = s.ended(), whyEnded(t, s.stderr())
	if status != 1 || !strings.Contains(why, "check DB_USER, DB_PASSWORD") || strings.Contains(why, "within") {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	s.keptItsSecrets()
}

func TestServeGoesOnForTheShutdownDelay(t *testing.T) {
	t.Setenv("TENANTPOOL_SHUTDOWN_DELAY", "1h")
	s := startServe(t)
	if got := s.header("/readyz", "Connection"); got != "" {
		t.Errorf("Connection: %s", got)
	}
	s.signal(syscall.SIGTERM)
	s.signal(syscall.SIGTERM) // at once: the same one, passed on twice
	eventually(t, "it is not ready any more", func() bool {
		status, body := s.ask("", "/readyz", "")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "process: shutting down")
	})
	for _, step := range []struct {
		role       web.Role
		path, body string
		status     int
	}{
		{"", "/healthz", "", 200},
		{web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`, 201},
		{web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`, 200},
	} {
		if status, body := s.ask(step.role, step.path, step.body); status != step.status {
			t.Errorf("%s: %d %.300s, want %d", step.path, status, body, step.status)
		}
	}
	if got := s.header("/healthz", "Connection"); got != "close" {
		t.Errorf("a client may stay: Connection: %q", got)
	}
	s.insist(syscall.SIGTERM)
	if status := s.ended(); status != exitInterrupted {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}

func TestServeEndsByItselfWhenItIsDrained(t *testing.T) {
	s := startServe(t)
	if status, body := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`); status != 201 {
		t.Fatal(status, body)
	}
	giveUp, answered := s.holdStatement()
	if status, body := s.ask(web.Operator, "/api/admin.drain", `{"confirm":"drain"}`); status != 200 {
		t.Fatal(status, body)
	}
	if status, body := s.ask("", "/healthz", ""); status != 200 || !strings.Contains(body, "connections are lent (1)") {
		t.Errorf("it does not say what it waits for: %d %s", status, body)
	}
	giveUp()
	if got := <-answered; !strings.HasPrefix(got, "200 ") {
		t.Errorf("the statement under way: %s", got)
	}
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	for _, message := range []string{"Draining", "Drained"} {
		if n := len(s.with(message)); n != 1 {
			t.Errorf("it says %q %d times:\n%s", message, n, s.stderr())
		}
	}
}

func TestServeReloadsOnSIGHUPAndEndsNoRequest(t *testing.T) {
	pg := ownServer(t)
	keys, password := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "password")
	write := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := web.NewPrivateKey()
	write(keys, key.Public().String())
	write(password, pg.Password)
	s := prepareServe(t, pg)
	s.key = key
	for name, value := range map[string]string{"PASETO_PUBLIC_KEY": "", "PASETO_PUBLIC_KEY_FILE": keys, "DB_PASSWORD": "", "DB_PASSWORD_FILE": password} {
		t.Setenv(name, value)
	}
	s.startUntil(t, "Serving")
	ask := func(status int, role web.Role, path, body string) {
		t.Helper()
		if got, answer := s.ask(role, path, body); got != status {
			t.Errorf("%s: %d %.300s, want %d", path, got, answer, status)
		}
	}
	const query = `{"workspaceId":"shop","sql":"SELECT 1"}`
	hangUp := func(says ...string) {
		t.Helper()
		before := len(s.stderr())
		s.signal(syscall.SIGHUP)
		eventually(t, "the last part is reloaded or not", func() bool { return strings.Contains(s.stderr()[before:], `"what":"credentials"`) })
		for _, want := range says {
			if !strings.Contains(s.stderr()[before:], want) {
				t.Errorf("it does not say %s:\n%s", want, s.stderr()[before:])
			}
		}
	}
	ask(201, web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`)
	giveUp, answered := s.holdStatement()
	ask(200, web.Service, "/api/workspace.query", query) // over another connection, which stays

	// The role has another password now, and the file has not.
	operator := asSuperuser(t, pg, s.prefix).System()
	if _, err := operator.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD 'another-secret'", pg.User)); err != nil {
		t.Fatal(err)
	}
	hangUp("Not reloaded")
	ask(200, web.Service, "/api/workspace.query", query) // it is still there

	write(password, "another-secret")
	write(keys, "nonsense")
	hangUp("Not reloaded")
	ask(200, web.Viewer, "/api/admin.connectionStats", "")
	fresh := web.NewPrivateKey()
	write(keys, fresh.Public().String())
	hangUp(
		fmt.Sprintf(`{"changed":["PASETO_PUBLIC_KEY_FILE=%s"],"level":"info","message":"Reloaded",`, keys),
		`"unchanged":[],"variables_as_at_start":["METRICS_TOKEN"],"what":"keys and metrics token"}`,
		fmt.Sprintf(`"unchanged":["DB_PASSWORD_FILE=%s"],"variables_as_at_start":["DB_USER"],"what":"credentials"}`, password),
	)
	ask(401, web.Viewer, "/api/admin.connectionStats", "")
	s.key = fresh
	ask(200, web.Operator, "/api/admin.evictWorkspace", `{"workspaceId":"shop"}`)
	ask(200, web.Service, "/api/workspace.query", query) // over a new connection

	giveUp()
	if got := <-answered; !strings.HasPrefix(got, "200 ") {
		t.Errorf("the statement under way: %s", got)
	}
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	s.keptItsSecrets()
	if strings.Contains(s.stderr(), "another-secret") {
		t.Error("the new password is in the log")
	}
}
