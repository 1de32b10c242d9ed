package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/web"
)

func TestServeSaysAllThatIsWrong(t *testing.T) {
	malformed := filepath.Join(t.TempDir(), "revoked")
	if err := os.WriteFile(malformed, []byte("tokn X"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"DB_MAX_CONNECTIONS": "2", "PASETO_PUBLIC_KEY": "", "METRICS_TOKEN": "hunter2", "TENANTPOOL_WORKSPACE_METRICS": "perhaps",
		"TENANTPOOL_DUMP_AFTER": "0s", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "DB_PASSWORD": "hunter2", "DB_PASSWORD_FILE": "/nowhere",
		"TENANTPOOL_MAX_TOKEN_TTL": "9000h", "TENANTPOOL_REVOCATIONS": malformed,
		"TENANTPOOL_SHUTDOWN_DELAY": "-1s", "TENANTPOOL_SERVER_WAIT": "soon",
		"TENANTPOOL_MAX_QUERIES": "0", "TENANTPOOL_MAX_STREAMS_PER_SUBJECT": "many",
	} {
		t.Setenv(name, value)
	}
	status, stdout, stderr := called(t, "serve")
	if status != 1 || stdout != "" {
		t.Errorf("exit status %d, %q", status, stdout)
	}
	for _, want := range []string{"DB_MAX_CONNECTIONS", "tenantpool keygen", "METRICS_TOKEN has 7 bytes", `TENANTPOOL_WORKSPACE_METRICS is "perhaps"`, `TENANTPOOL_DUMP_AFTER is "0s"`,
		`LOG_FORMAT is "xml": it must be json or text`, `LOG_LEVEL is "loud": it must be debug, info, warn or error`, "DB_PASSWORD is set, and so is DB_PASSWORD_FILE",
		`TENANTPOOL_MAX_TOKEN_TTL is "9000h"`, malformed + ": line 1: it must begin with token",
		`TENANTPOOL_SHUTDOWN_DELAY is "-1s"`, `TENANTPOOL_SERVER_WAIT is "soon"`,
		`TENANTPOOL_MAX_QUERIES is "0": it must be a whole number from 1 to`, `TENANTPOOL_MAX_STREAMS_PER_SUBJECT is "many"`} {
		if !strings.Contains(whyEnded(t, stderr), want) {
			t.Errorf("it does not say %q: %s", want, stderr)
		}
	}
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("it gives the metrics token away: %s", stderr)
	}
	private := web.NewPrivateKey().Hex()
	t.Setenv("PASETO_PUBLIC_KEY", private)
	if _, _, stderr := called(t, "serve"); !strings.Contains(stderr, "as long as a private key") || strings.Contains(stderr, private[:16]) {
		t.Errorf("it says %s", stderr)
	}
}

func TestServeSaysThatItsPortIsTaken(t *testing.T) {
	t.Setenv("PASETO_PUBLIC_KEY", web.NewPrivateKey().Public().String())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	t.Setenv("TENANTPOOL_ADDR", taken.Addr().String())
	status, _, stderr := called(t, "serve")
	if why := whyEnded(t, stderr); status != 1 || !strings.Contains(why, taken.Addr().String()) || !strings.Contains(why, "in use") {
		t.Errorf("exit status %d, %s", status, stderr)
	}
	// The flag goes before the environment.
	status, _, stderr = called(t, "serve", "--addr", "127.0.0.1:http2")
	if status != 1 || strings.Contains(stderr, "in use") {
		t.Errorf("exit status %d, %s", status, stderr)
	}
}

// served is a running tenantpool serve.
type served struct {
	*program
	url string
	key web.PrivateKey
	pg  *localpg.Server
	// prefix is that of its databases.
	prefix string
	// logged is closed when all that it said has been read.
	logged  chan struct{}
	tokens  []string     // all that were used
	answers bytes.Buffer // all that it gave, headers included
}

// metricsToken is what the tests' Prometheus would have.
const metricsToken = "scrape-scrape-scrape"

func startServe(t *testing.T) *served {
	t.Helper()
	return serveOn(t, shared.Server(t), "Serving")
}

// serveOn reads what it says until the message, which names the address.
func serveOn(t *testing.T, pg *localpg.Server, message string) *served {
	t.Helper()
	s := prepareServe(t, pg)
	s.startUntil(t, message)
	return s
}

// prepareServe sets its environment.
func prepareServe(t *testing.T, pg *localpg.Server) *served {
	t.Helper()
	s := &served{key: web.NewPrivateKey(), pg: pg, prefix: strings.ToLower(rand.Text()[:8])}
	for name, value := range map[string]string{
		"DB_PREFIX": s.prefix,
		"DB_HOST":   pg.Host, "DB_PORT": fmt.Sprint(pg.Port), "DB_USER": pg.User, "DB_PASSWORD": pg.Password, "DB_NAME": pg.Database,
		"DB_SSLMODE": "disable", "DB_MAX_CONNECTIONS": "20",
		"PASETO_PUBLIC_KEY": web.NewPrivateKey().Public().String() + "," + s.key.Public().String(),
		"METRICS_TOKEN":     metricsToken, "TENANTPOOL_ADDR": "127.0.0.1:0",
	} {
		t.Setenv(name, value)
	}
	return s
}

// startUntil reads what it says until the message.
func (s *served) startUntil(t *testing.T, message string) {
	t.Helper()
	s.program = start(t, "serve")
	for s.url == "" {
		line, ok := s.next()
		if !ok {
			t.Fatalf("it ended before it served:\n%s", s.stderr())
		}
		var said struct{ Message, Address string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if said.Message == message {
			s.url = "http://" + said.Address
		}
	}
	s.logged = make(chan struct{})
	go func() {
		defer close(s.logged)
		for ok := true; ok; {
			_, ok = s.next()
		}
	}()
}

// ask returns the status and the body.
func (s *served) ask(role web.Role, path, body string) (int, string) {
	s.t.Helper()
	token := ""
	if role != "" {
		token = s.tokenOf("test", role)
	}
	return s.askWith(token, path, body)
}

func (s *served) askWith(token, path, body string) (int, string) {
	s.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		s.tokens = append(s.tokens, token)
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	_ = response.Header.Write(&s.answers)
	s.answers.Write(all)
	return response.StatusCode, string(bytes.TrimSpace(all))
}

// asSuperuser opens a manager beside the program under test.
func asSuperuser(t *testing.T, pg *localpg.Server, prefix string) *pools.Manager {
	t.Helper()
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port, cfg.SystemDatabase, cfg.SSLMode = pg.Host, pg.Port, pg.Database, "disable"
	cfg.User, cfg.Password = superuser(pg)
	cfg.Prefix, cfg.MaxConnections = prefix, 20 // it opens the few that it needs
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

func superuser(pg *localpg.Server) (name, password string) {
	fields := map[string]string{}
	for field := range strings.FieldsSeq(pg.SuperuserDSN()) {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	return fields["user"], fields["password"]
}

// A statement that ends when the test lets it: waitForLock waits for a lock that
// holdLock takes.
const waitForLock = `{"workspaceId":"shop","sql":"SELECT 'still here' FROM pg_advisory_xact_lock(1)"}`

func (s *served) holdLock() (giveUp func()) {
	s.t.Helper()
	tx, err := asSuperuser(s.t, s.pg, s.prefix).Workspace("shop").Begin(s.t.Context())
	if err == nil {
		_, err = tx.Exec(s.t.Context(), "SELECT pg_advisory_xact_lock(1)")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.Background()) }
}

// holdStatement has a statement under way until giveUp; answered then gets the status
// and the body.
func (s *served) holdStatement() (giveUp func(), answered <-chan string) {
	s.t.Helper()
	giveUp = s.holdLock()
	got := make(chan string, 1)
	asking := *s
	asking.tokens, asking.answers = nil, bytes.Buffer{} // not looked at: the others are enough
	go func() {
		status, body := asking.ask(web.Service, "/api/workspace.query", waitForLock)
		got <- fmt.Sprint(status, " ", body)
	}()
	eventually(s.t, "the statement runs", func() bool {
		_, stats := s.ask(web.Viewer, "/api/admin.connectionStats", "")
		var st struct {
			WorkspacePools map[string]struct{ InUse int }
		}
		return json.Unmarshal([]byte(stats), &st) == nil && st.WorkspacePools["shop"].InUse == 1
	})
	return giveUp, got
}

func TestServeServesDrainsAndExitsWith0(t *testing.T) {
	s := startServe(t)
	for _, step := range []struct {
		role       web.Role
		path, body string
		status     int
		want       string
	}{
		{"", "/healthz", "", 200, `{"status":"ok"}`},
		{"", "/readyz", "", 200, `{"status":"ok"}`},
		{"", "/", "", 200, "<!"},
		{"", "/api/admin.connectionStats", "", 401, `{"error":"Authorization header is required"}`},
		{web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`, 201, `{"workspaceId":"shop"}`},
		{web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 6 * $1::int AS n","args":[7]}`, 200, `"rows":[[42]]`},
		{web.Viewer, "/api/admin.connectionStats", "", 200, `"shop"`},
		{web.Viewer, "/api/workspace.list", "", 403, "your role may not do this"},
		{web.Operator, "/api/workspace.list", "", 200, `{"workspaces":["shop"]}`},
	} {
		if status, body := s.ask(step.role, step.path, step.body); status != step.status || !strings.Contains(body, step.want) {
			t.Errorf("%s: %d %.300s, want %d %s", step.path, status, body, step.status, step.want)
		}
	}
	_, metrics := s.ask(web.Viewer, "/metrics", "")
	// SIGTERM in the middle of a statement.
	giveUp, answered := s.holdStatement()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready any more", func() bool {
		status, _ := s.ask("", "/readyz", "")
		return status != http.StatusOK
	})
	giveUp()
	if got := <-answered; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "still here") {
		t.Errorf("the statement under way: %s", got)
	}
	<-s.logged
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.keptItsSecrets()
	if !strings.Contains(s.said[len(s.said)-1], `"message":"Drained"`) {
		t.Errorf("its last word is %s", s.said[len(s.said)-1])
	}
	if end := s.with("Shutting down"); len(end) != 1 || end[0]["signal"] != "SIGTERM" || end[0]["delay"] != "0s" || end[0]["requests_within"] != "35s" || end[0]["connections_within"] != "20s" {
		t.Errorf("of its end it says %v", end)
	}
	first := s.with("Starting")
	if len(first) != 1 || !strings.Contains(s.said[0], `"message":"Starting"`) || first[0]["go"] != runtime.Version() {
		t.Fatalf("its first word is %s", s.said[0])
	}
	// The log, the metrics and --version agree on what this is.
	version, revision := first[0]["version"], first[0]["revision"]
	if want := fmt.Sprintf("tenantpool_build_info{goversion=%q,revision=%q,version=%q} 1\n", runtime.Version(), revision, version); !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %s", want)
	}
	want := fmt.Sprintf("tenantpool version %s (revision %s, %s)\n", version, revision, runtime.Version())
	if status, stdout, stderr := called(t, "--version"); status != 0 || stdout != want || stderr != "" {
		t.Errorf("--version: %d %s%s, want %s", status, stdout, stderr, want)
	}
	if s.stdout.Len() > 0 {
		t.Errorf("standard output: %s", &s.stdout)
	}
}

// keptItsSecrets searches all that it said, once that is complete.
func (s *served) keptItsSecrets() {
	s.t.Helper()
	for _, secret := range append(s.tokens, s.pg.Password, s.key.Hex(), metricsToken, "postgres://") {
		for where, said := range map[string]string{"log": s.stderr(), "answers": s.answers.String()} {
			if strings.Contains(said, secret) {
				s.t.Errorf("the secret %.12s... is in the %s", secret, where)
			}
		}
	}
	if strings.Contains(s.stderr(), "v4.public.") { // the page says what a token looks like
		s.t.Error("a token is in the log")
	}
}

func TestNoAnswerPageMetricOrLogLineHoldsASecret(t *testing.T) {
	s := startServe(t)
	if status, body := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`); status != 201 {
		t.Fatal(status, body)
	}
	ask := func(status int, role web.Role, path, body string) {
		t.Helper()
		if got, answer := s.ask(role, path, body); got != status {
			t.Errorf("%s: %d %.300s, want %d", path, got, answer, status)
		}
	}
	for _, page := range []string{"/", "/assets/main.js", "/api/openapi.json", "/readyz"} {
		ask(200, "", page, "")
	}
	if status, _ := s.askWith(metricsToken, "/metrics", ""); status != 200 {
		t.Error("no metrics: ", status)
	}
	for _, token := range []string{metricsToken, s.key.Hex(), "v4.public.nonsense"} {
		if status, _ := s.askWith(token, "/api/admin.connectionStats", ""); status != 401 {
			t.Error("it took a token that is none: ", status)
		}
	}
	ask(200, web.Viewer, "/api/admin.connectionStats", "")
	ask(422, web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT no_such_thing"}`)
	ask(400, web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":1}`)
	ask(400, web.Operator, "/api/admin.setLimits", `{"maxConnections":1}`)
	ask(403, web.Viewer, "/api/admin.drain", `{"confirm":"drain"}`)
	ask(404, "", "/api/"+s.tokens[0], "") // somebody has mistaken the place
	// A role may change its own password. Logins fail from now on.
	defer func() {
		change := fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", s.pg.User, s.pg.Password)
		if _, err := asSuperuser(t, s.pg, s.prefix).System().Exec(t.Context(), change); err != nil {
			t.Error(err)
		}
	}()
	ask(200, web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"ALTER ROLE CURRENT_USER PASSWORD 'another'"}`)
	ask(200, web.Operator, "/api/admin.evictWorkspace", `{"workspaceId":"shop"}`)
	ask(502, web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`)
	ask(200, web.Viewer, "/metrics", "")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.logged
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.keptItsSecrets()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

func TestTheDemoSaysHowToReachItsAdminServer(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--for", "1h", "--workspaces", "3", "--budget", "20", "--workers", "2", "--report", "json", "--addr", "127.0.0.1:0")
	p.await("time") // the rows' header: all is said
	said := map[string]string{}
	for _, line := range p.said {
		for _, what := range []string{"dashboard", "operator token", "viewer token", "statistics"} {
			if rest, found := strings.CutPrefix(line, what+"  "); found {
				said[what] = strings.TrimSpace(rest)
			}
		}
	}
	address := strings.TrimSuffix(said["dashboard"], "/")
	if want := "echo 'Authorization: Bearer " + said["operator token"] + "' | curl -sH @- " + address + "/api/admin.connectionStats"; said["statistics"] != want {
		t.Errorf("the curl line is %q, want %q", said["statistics"], want)
	}
	if _, err := exec.LookPath("curl"); err == nil {
		if answer, err := exec.Command("sh", "-c", said["statistics"]).Output(); err != nil || !strings.Contains(string(answer), `"workspacePools":`) {
			t.Errorf("the curl line: %v, %.200s", err, answer)
		}
	}
	for token, status := range map[string]int{said["operator token"]: 200, said["viewer token"]: 403, "": 401} {
		r, err := http.NewRequest("POST", address+"/api/admin.evictWorkspace", strings.NewReader(`{"workspaceId":"customer-01"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%d, want %d", response.StatusCode, status)
		}
	}
	p.interrupt()
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	check(t, decode(t, p.stdout.Bytes()))
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTheDemoGoesToAnotherPortOnlyIfNobodyChoseOne(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var stderr bytes.Buffer
	con := stage.StartConsole(&stderr)
	o := demoOptions{addr: taken.Addr().String()}
	a, err := listenAdmin(o, con)
	if err != nil {
		t.Fatal(err)
	}
	if host, _, _ := net.SplitHostPort(a.listener.Addr().String()); host != "127.0.0.1" || a.listener.Addr().String() == o.addr {
		t.Errorf("it listens on %v", a.listener.Addr())
	}
	a.close()
	o.addrGiven = true
	if _, err := listenAdmin(o, con); err == nil || !strings.Contains(err.Error(), "--addr chooses another") {
		t.Errorf("%v", err)
	}
	if a, err := listenAdmin(demoOptions{}, con); a != nil || err != nil {
		t.Errorf("%v, %v", a, err)
	}
	con.Stop()
	if want := o.addr + " is taken, so the admin server is on another port (--addr chooses one)\n"; stderr.String() != want {
		t.Errorf("%q", &stderr)
	}
}

func TestServeGivesAndWritesDumps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dumps")
	t.Setenv("TENANTPOOL_DUMP_DIR", dir)
	// Longer than any wait for a dial, which would be the dump's reason.
	pg, began := shared.Server(t), time.Now()
	asSuperuser(t, pg, "any")
	long := 200*time.Millisecond + 10*time.Since(began)
	t.Setenv("TENANTPOOL_DUMP_AFTER", long.String())
	t.Setenv("DB_ACQUIRE_TIMEOUT", (2 * long).String())
	t.Setenv("DB_MAX_CONNECTIONS_PER_DB", "1")
	s := startServe(t)
	if status, body := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`); status != 201 {
		t.Fatal(status, body)
	}
	eventually(t, "the one connection is there", func() bool {
		status, _ := s.ask(web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`)
		return status == 200
	})
	giveUp := s.holdLock()
	answered := make(chan int, 1)
	asking := *s
	asking.tokens, asking.answers = nil, bytes.Buffer{}
	go func() {
		status, _ := asking.ask(web.Service, "/api/workspace.query", waitForLock)
		answered <- status
	}()
	eventually(t, "it is taken", func() bool {
		_, stats := s.ask(web.Viewer, "/api/admin.connectionStats", "")
		return strings.Contains(stats, `"inUse":1`)
	})
	var files []string
	eventually(t, "somebody has waited in vain, and there is a dump", func() bool {
		s.ask(web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`)
		files, _ = filepath.Glob(filepath.Join(dir, "tenantpool-*.zip"))
		return len(files) == 1
	})
	if status, stdout, stderr := called(t, "replay", files[0]); status != 0 || !strings.Contains(stdout, "shop") {
		t.Errorf("replay: exit status %d, %s%s", status, stdout, stderr)
	}
	giveUp()
	if status := <-answered; status != 200 {
		t.Errorf("the one that waited for a lock: %d", status)
	}
	status, content := s.ask(web.Operator, "/api/admin.dump", `{}`)
	archive, err := zip.NewReader(strings.NewReader(content), int64(len(content)))
	if status != 200 || err != nil || len(archive.File) != 4 {
		t.Errorf("%d %v %.200q", status, err, content)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.logged
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.keptItsSecrets()
	reached := s.with("Connection limit reached")
	if len(reached) == 0 || reached[0]["level"] != "warning" || reached[0]["workspace_id"] != "shop" || !strings.Contains(fmt.Sprint(reached[0]["error"]), "limit") {
		t.Errorf("of the limit it says %v", reached)
	}
}
