package web

import (
	"slices"
	"strings"
	"testing"
	"time"

	"aidanwoods.dev/go-paseto"
	"github.com/labstack/echo/v4"
)

// permitted is who may call what, written by hand: it is what the routes are
// measured by.
var permitted = map[string][]Role{
	"GET /":                 nil, // anybody
	"GET /assets/*":         nil,
	"GET /healthz":          nil,
	"GET /readyz":           nil,
	"GET /api/openapi.json": nil,

	"GET /metrics":                    {Viewer, Operator},
	"GET /api/admin.connectionStats":  {Viewer, Operator},
	"GET /api/admin.events":           {Viewer, Operator},
	"GET /api/admin.usage":            {Viewer, Operator},
	"GET /api/admin.replicas":         {Viewer, Operator},
	"GET /api/admin.capacity":         {Viewer, Operator},
	"GET /api/admin.door":             {Viewer, Operator},
	"POST /api/admin.evictWorkspace":  {Operator},
	"POST /api/admin.renewWorkspace":  {Operator},
	"POST /api/admin.renewAll":        {Operator},
	"POST /api/admin.pauseWorkspace":  {Operator},
	"POST /api/admin.resumeWorkspace": {Operator},
	"POST /api/admin.setLimits":       {Operator},
	"POST /api/admin.drain":           {Operator},
	"POST /api/admin.dump":            {Operator},
	"POST /api/workspace.create":      {Operator},
	"GET /api/workspace.list":         {Operator},
	"POST /api/workspace.delete":      {Operator},
	"POST /api/workspace.rename":      {Operator},
	"POST /api/workspace.settings":    {Operator},
	"POST /api/workspace.query":       {Service},
}

const (
	missing   = `{"error":"Authorization header is required"}`
	invalid   = `{"error":"the token is not valid","requestId":"r1"}`
	expired   = `{"error":"the token has expired","requestId":"r1"}`
	forbidden = `{"error":"your role may not do this","requestId":"r1"}`
)

// Each registered route, with everything that somebody could hold.
func TestWhoMayCallWhat(t *testing.T) {
	s := startShell(t)
	s.Close() // event streams end at once
	good := Claims{Subject: "anna", Role: Operator, TTL: time.Hour}
	elsewhere, otherIssuer := good, good
	elsewhere.Audience = "another server"
	otherIssuer.Issuer = "somebody"
	now := time.Now()
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	refused := map[string]struct {
		headers []string
		body    string
	}{
		"no header":          {nil, missing},
		"an empty header":    {[]string{"Authorization", ""}, invalid},
		"no token":           {bearer(""), invalid},
		"no scheme":          {[]string{"Authorization", issued(t, s.key, good, now)}, invalid},
		"another scheme":     {[]string{"Authorization", "Basic " + issued(t, s.key, good, now)}, invalid},
		"two headers":        {append(bearer(issued(t, s.key, good, now)), bearer(issued(t, s.key, good, now))...), invalid},
		"garbage":            {bearer("hunter2"), invalid},
		"expired":            {bearer(issued(t, s.key, good, now.Add(-2*time.Hour))), expired},
		"not yet valid":      {bearer(issued(t, s.key, good, now.Add(time.Hour))), invalid},
		"another key":        {bearer(issued(t, NewPrivateKey(), good, now)), invalid},
		"another audience":   {bearer(issued(t, s.key, elsewhere, now)), invalid},
		"another issuer":     {bearer(issued(t, s.key, otherIssuer, now)), invalid},
		"unknown role":       {bearer(forged(s.key, set("role", "root"))), invalid},
		"a public role":      {bearer(forged(s.key, set("role", "public"))), invalid},
		"in the query":       {nil, missing},
		"another's metrics":  {bearer("scrape-scrape-scrapX"), invalid},
		"part of the metric": {bearer("scrape-scrape"), invalid},
	}
	registered := s.e.Routes()
	heads := 0
	for _, r := range registered {
		name := r.Method + " " + r.Path
		if r.Method == "HEAD" { // what a GET may, and answers without a body on a real connection only
			heads++
			name = "GET " + r.Path
		}
		may, known := permitted[name]
		if !known {
			t.Errorf("%s is registered, and nobody has said who may call it", name)
			continue
		}
		for what, it := range refused {
			w := s.do(r.Method, r.Path+"?token="+issued(t, s.key, good, now), "", append(it.headers, "X-Request-Id", "r1")...)
			switch {
			case may == nil:
				if w.Code == 401 || w.Code == 403 {
					t.Errorf("%s, %s: %d", name, what, w.Code)
				}
			case w.Code != 401, strings.TrimSpace(w.Body.String()) != it.body, w.Header().Get("WWW-Authenticate") != "Bearer":
				t.Errorf("%s, %s: %d %s %q", name, what, w.Code, w.Body, w.Header().Get("WWW-Authenticate"))
			}
		}
		for _, role := range []Role{Viewer, Operator, Service} {
			w := s.do(r.Method, r.Path, "", append(bearer(s.token(t, role)), "X-Request-Id", "r1")...)
			switch {
			case may == nil || slices.Contains(may, role):
				if slices.Contains([]int{401, 403, 404, 405, 500}, w.Code) && name != "GET /assets/*" {
					t.Errorf("%s as %s: %d %s", name, role, w.Code, w.Body)
				}
			case w.Code != 403, strings.TrimSpace(w.Body.String()) != forbidden, w.Header().Get("WWW-Authenticate") != "":
				t.Errorf("%s as %s: %d %s", name, role, w.Code, w.Body)
			}
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			if method == r.Method || r.Method == "HEAD" || r.Method == "GET" && method == "HEAD" {
				continue
			}
			w := s.do(method, r.Path, "", bearer(s.token(t, Operator))...)
			wrong := w.Code != 405 || w.Header().Get("Allow") == ""
			if method == "OPTIONS" { // says what is allowed
				wrong = w.Code != 405 && w.Code != 204
			}
			if wrong {
				t.Errorf("%s %s: %d, Allow %q", method, r.Path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	if len(registered) != len(permitted)+heads {
		t.Errorf("%d routes are registered, %d are permitted to somebody, and %d of those answer to HEAD", len(registered), len(permitted), heads)
	}
	for _, path := range []string{"/api", "/api/", "/api/admin", "/api/admin.drain/", "/API/admin.drain", "/api//admin.drain", "/api/%61dmin.drainx", "/.env", "/debug/pprof/"} {
		if w := s.do("GET", path, "", bearer(s.token(t, Operator))...); w.Code != 404 || !strings.HasPrefix(w.Body.String(), `{"error":"there is no such route","requestId":`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestTheMetricsTokenOpensTheMetricsOnly(t *testing.T) {
	s := startShell(t)
	for path, want := range map[string]int{"/metrics": 200, "/api/admin.connectionStats": 401, "/api/admin.drain": 401} {
		method := "GET"
		if path == "/api/admin.drain" {
			method = "POST"
		}
		if w := s.do(method, path, "", "Authorization", "Bearer scrape-scrape-scrape"); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	s.options.MetricsToken = ""
	if w := s.do("GET", "/metrics", "", "Authorization", "Bearer "); w.Code != 401 {
		t.Errorf("without a metrics token nothing opens them, but: %d", w.Code)
	}
}

func TestARouteWithoutKnownRolesDoesNotRegister(t *testing.T) {
	serve := func(*Server, echo.Context) error { return nil }
	for want, r := range map[string]route{
		"route GET /x has no roles":                      {method: "GET", path: "/x", serve: serve},
		`route GET /x has the unknown role "root"`:       {method: "GET", path: "/x", roles: []Role{Viewer, "root"}, serve: serve},
		"route GET /x is public and has other roles too": {method: "GET", path: "/x", roles: []Role{Viewer, public}, serve: serve},
		"route GET /x has no handler":                    {method: "GET", path: "/x", roles: viewers},
	} {
		_, err := newServer(newFakePool(), Options{Keys: []PublicKey{NewPrivateKey().Public()}}, append(slices.Clone(routes), r))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	keys := []PublicKey{NewPrivateKey().Public()}
	for want, o := range map[string]Options{
		"tenantpool keygen":             {},
		"a public key is empty":         {Keys: make([]PublicKey, 1)},
		"the metrics token has 5 bytes": {Keys: keys, MetricsToken: "short"},
	} {
		if _, err := New(newFakePool(), o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "short") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := New(nil, Options{Keys: keys}); err == nil || !strings.Contains(err.Error(), "no pool") {
		t.Errorf("%v", err)
	}
	if _, err := New(newFakePool(), Options{Keys: keys}); err != nil {
		t.Error(err)
	}
}

func TestAccessIsReplacedWhileItServes(t *testing.T) {
	s := startShell(t, route{method: "GET", path: "/x", roles: roles, serve: func(_ *Server, c echo.Context) error { return c.NoContent(200) }})
	old := s.token(t, Viewer)
	for what, refused := range map[string]struct {
		keys         []PublicKey
		metricsToken string
	}{
		"without keys nobody could be let in": {},
		"a metrics token that can be guessed": {[]PublicKey{NewPrivateKey().Public()}, "short"},
		"a key that is empty":                 {make([]PublicKey, 1), "another-metrics-token"},
	} {
		if err := s.SetAccess(refused.keys, refused.metricsToken); err == nil {
			t.Error(what)
		}
		for token, path := range map[string]string{old: "/x", "scrape-scrape-scrape": "/metrics"} {
			if w := s.do("GET", path, "", "Authorization", "Bearer "+token); w.Code != 200 {
				t.Errorf("%s, and though it is refused something has changed: %s is %d", what, path, w.Code)
			}
		}
	}
	s.key = NewPrivateKey()
	if err := s.SetAccess([]PublicKey{s.key.Public()}, "another-metrics-token"); err != nil {
		t.Fatal(err)
	}
	for token, status := range map[string]int{old: 401, s.token(t, Viewer): 200} {
		if w := s.do("GET", "/x", "", "Authorization", "Bearer "+token); w.Code != status {
			t.Errorf("%d, want %d", w.Code, status)
		}
	}
	for token, status := range map[string]int{"scrape-scrape-scrape": 401, "another-metrics-token": 200} {
		if w := s.do("GET", "/metrics", "", "Authorization", "Bearer "+token); w.Code != status {
			t.Errorf("%s: %d, want %d", token, w.Code, status)
		}
	}
}

// Whoever looks at the log can revoke the token that did it.
func TestTheLogNamesTheToken(t *testing.T) {
	rig := newHandlersRig(t)
	who, err := rig.server.access.Load().verifier.verify(rig.tokens[Operator])
	if err != nil || !ownTokenID.MatchString(who.TokenID) {
		t.Fatal(who, err)
	}
	rig.do(Operator, "/api/admin.evictWorkspace", `{"workspaceId":"ws_001"}`)
	for _, message := range []string{"Operator's action", "Request"} {
		soon(t, message, func() bool { return len(rig.log.with(t, message)) == 1 })
		if got := rig.log.with(t, message)[0]; got["token_id"] != who.TokenID || got["subject"] != "the operator" {
			t.Errorf("%v", got)
		}
	}
}

// Of a token whose signature is good the log says whose it is, though it opens nothing.
func TestTheLogNamesATokenThatIsRefused(t *testing.T) {
	s := startShell(t)
	access := *s.access.Load()
	access.verifier.revocations = newRevocationsFile(t, "token "+ids[1]).read()
	s.access.Store(&access)
	now := time.Now()
	token := func(key PrivateKey, id string, iat, exp time.Time) string {
		return forged(key, func(token *paseto.Token) {
			token.SetSubject("anna")
			token.SetJti(id)
			token.SetIssuedAt(iat)
			token.SetNotBefore(iat)
			token.SetExpiration(exp)
		})
	}
	undated := forged(s.key, func(token *paseto.Token) {
		without("iat")(token)
		token.SetSubject("anna")
		token.SetJti(ids[3])
		token.SetNotBefore(now)
		token.SetExpiration(now.Add(time.Hour))
	})
	for i, test := range []struct{ token, why, id string }{
		{token(s.key, ids[1], now, now.Add(time.Hour)), "has been revoked", ids[1]},
		{token(s.key, ids[2], now.Add(-2*time.Hour), now.Add(-time.Hour)), "has expired", ids[2]},
		{token(s.key, ids[3], now, now.Add(9000*time.Hour)), "for too long", ids[3]},
		{undated, "does not say when", ids[3]},
		{token(NewPrivateKey(), ids[3], now, now.Add(time.Hour)), "is not valid", ""},
	} {
		w := s.do("GET", statsPath, "", "Authorization", "Bearer "+test.token)
		line := s.log.with(t, "Request")[i]
		subject, _ := line["subject"].(string)
		id, _ := line["token_id"].(string)
		if said, _ := line["error"].(string); w.Code != 401 || id != test.id || (subject == "anna") != (test.id != "") || !strings.Contains(said, test.why) {
			t.Errorf("%d %v", w.Code, line)
		}
	}
}
