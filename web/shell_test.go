package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

func newLogBook() (*logBook, *slog.Logger) {
	written := &logBook{}
	return written, jsonLines(written, slog.LevelDebug)
}

// shellTest is a server with a few routes of the test's own.
type shellTest struct {
	*Server
	key PrivateKey
	log *logBook
	e   *echo.Echo
}

func startShell(t *testing.T, own ...route) *shellTest {
	t.Helper()
	s := &shellTest{key: NewPrivateKey()}
	var log *slog.Logger
	s.log, log = newLogBook()
	var err error
	s.Server, err = newServer(newFakePool(), Options{Keys: []PublicKey{s.key.Public()}, Log: log, MetricsToken: "scrape-scrape-scrape"}, append(own, routes...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.e = s.alone()
	return s
}

func (s *shellTest) token(t *testing.T, role Role) string {
	t.Helper()
	c := Claims{Subject: "anna", Role: role, TTL: time.Hour}
	if role == Service {
		c.Workspaces = []model.WorkspaceID{"a"}
	}
	token, err := Issue(s.key, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// do sends a request; of headers each two are a name and a value.
func (s *shellTest) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	return send(s.e, method, path, body, headers...)
}

func send(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// open is a public route of a test's own.
func open(method, path string, serve func(*Server, echo.Context) error) route {
	return route{method: method, path: path, roles: anybody, serve: serve}
}

func TestEveryAnswerHasARequestIDAndTheSecurityHeaders(t *testing.T) {
	s := startShell(t)
	for _, path := range []string{"/healthz", "/api/admin.connectionStats", "/nowhere"} {
		header := s.do("GET", path, "").Header()
		if len(header.Get("X-Request-Id")) < 20 {
			t.Errorf("%s: request id %q", path, header.Get("X-Request-Id"))
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cache-Control":                "no-store",
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestARequestIDOfTheClientIsKeptIfItMayStandInALog(t *testing.T) {
	s := startShell(t)
	for given, kept := range map[string]bool{
		"abc-123_X.y":            true,
		strings.Repeat("a", 64):  true,
		strings.Repeat("a", 65):  false,
		"a b":                    false,
		"a\"b":                   false,
		"<script>":               false,
		"":                       false,
		"v4.public.eyJzdWIiOiJ9": true,
	} {
		got := s.do("GET", "/healthz", "", "X-Request-Id", given).Header().Get("X-Request-Id")
		if (got == given) != kept || got == "" {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestAPanicIsA500ThatSaysNothing(t *testing.T) {
	s := startShell(t, open("GET", "/panic", func(*Server, echo.Context) error { panic("the secret of the house") }))
	w := s.do("GET", "/panic", "", "X-Request-Id", "r1")
	if w.Code != 500 || w.Body.String() != `{"error":"internal error","requestId":"r1"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	failed := s.log.with(t, "Request failed")
	if len(failed) != 1 || failed[0]["request_id"] != "r1" || failed[0]["error"] != "panic: the secret of the house" ||
		!strings.Contains(failed[0]["stack"].(string), "shell_test.go") {
		t.Errorf("logged %v", failed)
	}
	if w := s.do("GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("after the panic: %d", w.Code)
	}
}

func TestAnAbortedHandlerIsLeftToTheServer(t *testing.T) {
	s := startShell(t, open("GET", "/abort", func(*Server, echo.Context) error { panic(http.ErrAbortHandler) }))
	defer func() {
		if reason := recover(); reason != http.ErrAbortHandler {
			t.Errorf("recovered %v", reason)
		}
	}()
	s.do("GET", "/abort", "")
}

func TestTheAccessLogHasOneLineForARequestAndNoSecret(t *testing.T) {
	s := startShell(t)
	token := s.token(t, Viewer)
	const body = `{"sql":"SELECT 'hunter2'"}`
	s.do("POST", "/api/admin.drain?password=hunter2&token="+token, body,
		"Authorization", "Bearer "+token, "X-Request-Id", "r1", "Cookie", "session=hunter2", "Content-Type", "application/json")
	s.do("GET", "/api/"+token+"/x", body, "Authorization", "Basic hunter2", "X-Request-Id", "r2")
	s.do("GET"+strings.Repeat("T", 1000), "/"+strings.Repeat("a", 1000), "", "X-Request-Id", "r3")

	got := s.log.with(t, "Request")
	if len(got) != 3 {
		t.Fatalf("%d lines: %v", len(got), got)
	}
	for i, want := range []map[string]any{
		{"method": "POST", "path": "/api/admin.drain", "status": 403.0, "request_id": "r1", "subject": "anna", "error": "your role may not do this"},
		{"method": "GET", "path": "/api/[token]/x", "status": 404.0, "request_id": "r2"},
		{"method": "GET" + strings.Repeat("T", 77) + "...", "path": "/" + strings.Repeat("a", 199) + "...", "status": 404.0, "request_id": "r3"},
	} {
		for name, value := range want {
			if got[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i, name, got[i][name], value)
			}
		}
	}
	all := s.log.String()
	for _, secret := range []string{"hunter2", token, token[20:60], "v4.public"} {
		if strings.Contains(all, secret) {
			t.Errorf("the log has %q:\n%s", secret, all)
		}
	}
}

func TestOfAnSQLErrorOnlyItsCodeIsLogged(t *testing.T) {
	s := startShell(t, open("GET", "/sql", func(*Server, echo.Context) error {
		return &model.SQLError{Code: "22P02", Message: `invalid input syntax for type integer: "hunter2"`}
	}))
	s.do("GET", "/sql", "")
	if got := s.log.with(t, "Request"); len(got) != 1 || got[0]["error"] != "SQLSTATE 22P02" || got[0]["status"] != 422.0 {
		t.Errorf("%v", got)
	}
}

func TestAnAuditLineSaysWhoDidWhat(t *testing.T) {
	s := startShell(t, route{method: "POST", path: "/act", roles: operators, serve: func(s *Server, c echo.Context) error {
		s.audit(c, "evict", "shop", "2 closed", nil)
		return c.NoContent(204)
	}})
	s.do("POST", "/act", "", "Authorization", "Bearer "+s.token(t, Operator), "X-Request-Id", "r1")
	got := s.log.with(t, "Operator's action")
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	for name, value := range map[string]any{
		"audit": "evict", "workspace_id": "shop", "result": "2 closed", "subject": "anna", "role": "operator", "request_id": "r1", "level": "INFO",
	} {
		if got[0][name] != value {
			t.Errorf("%s is %v", name, got[0][name])
		}
	}
}
