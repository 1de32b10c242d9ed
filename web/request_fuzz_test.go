package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// fuzzRig is one server for a whole search, whose pool never fails.
type fuzzRig struct {
	pool   *fakePool
	log    *logBook
	e      *echo.Echo
	key    PrivateKey
	tokens map[string]string // by what stands for each in an input
}

const rigMetricsToken = "scrape-scrape-scrape"

func newFuzzRig(f *testing.F) *fuzzRig {
	f.Helper()
	rig := &fuzzRig{pool: newFakePool(), key: NewPrivateKey(), tokens: map[string]string{}}
	rig.pool.close = func(context.Context) error { return nil } // or a drain would end the search
	book, log := newLogBook()
	rig.log = book
	s, err := New(rig.pool, Options{Keys: []PublicKey{rig.key.Public()}, Log: log, MetricsToken: rigMetricsToken})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	s.Close() // event streams end at once
	rig.e = s.alone()
	now := time.Now()
	for name, it := range map[string]struct {
		key    PrivateKey
		claims Claims
		at     time.Time
	}{
		"{viewer}":   {rig.key, Claims{Role: Viewer}, now},
		"{operator}": {rig.key, Claims{Role: Operator}, now},
		"{service}":  {rig.key, Claims{Role: Service, Workspaces: served}, now},
		"{expired}":  {rig.key, Claims{Role: Operator}, now.Add(-48 * time.Hour)},
		"{forged}":   {NewPrivateKey(), Claims{Role: Operator}, now},
	} {
		it.claims.Subject, it.claims.TTL = "anna", 24*time.Hour
		if rig.tokens[name], err = issue(it.key, it.claims, it.at); err != nil {
			f.Fatal(err)
		}
	}
	rig.tokens["{metrics}"] = rigMetricsToken
	return rig
}

// fill puts the tokens in their places: they are others in each process.
func (rig *fuzzRig) fill(text string) string {
	for name, token := range rig.tokens {
		text = strings.ReplaceAll(text, name, token)
	}
	return text
}

// send answers a request as it comes from the network; nil: it is none.
func (rig *fuzzRig) send(raw string) (*http.Request, *httptest.ResponseRecorder) {
	rig.pool.mu.Lock()
	rig.pool.calls, rig.pool.workspaces = nil, append([]model.WorkspaceID(nil), served...)
	rig.pool.mu.Unlock()
	rig.log.mu.Lock()
	rig.log.text.Reset()
	rig.log.mu.Unlock()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil, nil
	}
	r.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	rig.e.ServeHTTP(w, r)
	return r, w
}

// check is what holds for every answer.
func (rig *fuzzRig) check(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	log, body := rig.log.String(), w.Body.String()
	if w.Code == http.StatusInternalServerError || strings.Contains(log, `"stack"`) || strings.Contains(log, "panic") {
		t.Errorf("%d %.500s\n%.2000s", w.Code, body, log)
	}
	var header bytes.Buffer
	_ = w.Header().Write(&header)
	for name, token := range rig.tokens {
		if name != "{metrics}" && (strings.Contains(body, token) || strings.Contains(header.String(), token) || strings.Contains(log, token)) {
			t.Errorf("the token %s is told: %.500s\n%.500s\n%.2000s", name, header.String(), body, log)
		}
	}
	for line := range strings.Lines(log) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil || len(line) > 4000 {
			t.Errorf("%d bytes are logged: %.500s", len(line), line)
		}
	}
	if w.Code < 400 || r.Method == http.MethodHead {
		return
	}
	var refusal errorBody
	if err := json.Unmarshal([]byte(body), &refusal); err != nil || refusal.Error == "" || len(body) > 1000 {
		t.Errorf("%d %d bytes: %.500s", w.Code, len(body), body)
	}
}

// allowed are the roles that the request proves, by a token that is in its one
// Authorization header letter by letter.
func (rig *fuzzRig) allowed(r *http.Request) (roles []Role) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil
	}
	fields := strings.Fields(headers[0])
	if len(fields) != 2 || !strings.EqualFold(fields[0], "bearer") {
		return nil
	}
	switch fields[1] {
	case rig.tokens["{viewer}"]:
		return []Role{Viewer}
	case rig.tokens["{operator}"]:
		return []Role{Operator}
	case rig.tokens["{service}"]:
		return []Role{Service}
	case rig.tokens["{metrics}"]:
		if r.URL.Path == "/metrics" {
			return []Role{Viewer}
		}
	}
	return nil
}

// Whatever the method, the path, the headers and the body: nothing panics, no token
// is told, and nobody gets anywhere without a token for it.
func FuzzRequests(f *testing.F) {
	rig := newFuzzRig(f)
	const jsonType = "Content-Type: application/json\r\n"
	type seed struct{ method, path, authorization, headers, body string }
	seeds := []seed{
		{"GET", "/", "", "", ""},
		{"GET", "/assets/app.js", "", "If-None-Match: *\r\nRange: bytes=0-1\r\nIf-Modified-Since: x\r\n", ""},
		{"GET", "/assets/../../etc/passwd", "", "", ""},
		{"GET", "/assets/%2e%2e%2f%00", "", "Accept-Encoding: gzip\r\n", ""},
		{"GET", "/metrics", "Bearer {metrics}", "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n", ""},
		{"GET", "/api/admin.events", "Bearer {viewer}", "Last-Event-ID: 99999999999999999999\r\nX-Forwarded-For: a, 10.0.0.1\r\n", ""},
		{"GET", "/api/admin.connectionStats?token={viewer}", "bearer  {viewer} ", "Authorization: Bearer {viewer}\r\n", ""},
		{"GET", "/api/admin.replicas?group={viewer}", "Bearer {viewer}", "Range: bytes=0-1\r\n", ""},
		{"GET", "/api/{operator}", "Basic {operator}", "X-Request-Id: {operator}\r\n", ""},
		{"OPTIONS", "*", "", "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", ""},
		{"CONNECT", "db:5432", "", "", ""},
		{"HEAD", "/readyz", "", "Host: \x80\r\n", ""},
		{"POST", "/api/admin.drain", "Bearer {expired}", jsonType, `{"confirm":"drain"}`},
		{"POST", "/api/admin.drain", "Bearer {forged}", jsonType + "X-HTTP-Method-Override: GET\r\n", `{"confirm":"drain"}`},
		{"POST", "/api/admin.evictWorkspace", "Bearer {operator}", jsonType + "Transfer-Encoding: chunked\r\n", "5\r\n{\"wor\r\n0\r\n\r\n"},
		{"POST", "/api/admin.evictWorkspace", "Bearer {operator}", jsonType + "Content-Length: -1\r\n", `{"{operator}":1}`},
		{"POST", "/api/workspace.query", "Bearer {service}", "Content-Type: application/json; charset=\"\r\n", `{}`},
		{"POST", "//api//workspace.query/", "Bearer {viewer}.", jsonType, `{"workspaceId":"{viewer}"}`},
	}
	for _, path := range slices.Sorted(maps.Keys(goodBodies)) {
		token := "Bearer {operator}"
		if path == queryPath {
			token = "Bearer {service}"
		}
		seeds = append(seeds, seed{"POST", path, token, jsonType, goodBodies[path]})
	}
	for _, s := range seeds {
		f.Add(s.method, s.path, s.authorization, s.headers, s.body)
	}
	f.Fuzz(func(t *testing.T, method, path, authorization, headers, body string) {
		raw := method + " " + path + " HTTP/1.1\r\nHost: admin.example\r\n"
		if authorization != "" {
			raw += "Authorization: " + authorization + "\r\n"
		}
		if body != "" && !strings.Contains(headers, "Content-Length") && !strings.Contains(headers, "Transfer-Encoding") {
			raw += "Content-Length: " + strconv.Itoa(len(rig.fill(body))) + "\r\n"
		}
		r, w := rig.send(rig.fill(raw + headers + "\r\n" + body))
		if r == nil {
			t.Skip("net/http refuses it")
		}
		rig.check(t, r, w)
		who := rig.allowed(r)
		may, known := permitted[r.Method+" "+r.URL.Path]
		served := w.Code != 401 && w.Code != 403
		if known && may != nil && (w.Code != 401 && len(who) == 0 || served && !slices.Contains(may, who[0])) {
			t.Errorf("%s %s as %v: %d %s", r.Method, r.URL.Path, who, w.Code, w.Body)
		}
		for _, call := range rig.pool.done() {
			needs := Operator
			if strings.HasPrefix(call, "query ") {
				needs = Service
			}
			if !slices.Contains(who, needs) {
				t.Errorf("%s as %v", call, who)
			}
		}
	})
}
