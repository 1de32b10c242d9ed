package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// goodBodies are what each route that takes a body accepts.
var goodBodies = map[string]string{
	"/api/admin.evictWorkspace":  `{"workspaceId":"ws_001"}`,
	"/api/admin.renewWorkspace":  `{"workspaceId":"ws_001"}`,
	"/api/admin.renewAll":        `{}`,
	"/api/admin.pauseWorkspace":  `{"workspaceId":"ws_001","waitMs":1}`,
	"/api/admin.resumeWorkspace": `{"workspaceId":"ws_001"}`,
	"/api/admin.setLimits":       `{"maxConnections":50,"maxConnectionsPerDB":2}`,
	"/api/admin.drain":           `{"confirm":"drain"}`,
	"/api/admin.dump":            `{}`,
	"/api/workspace.query":       `{"workspaceId":"ws_001","sql":"select 1","args":[1],"readOnly":true,"timeoutMs":10000}`,
	"/api/workspace.create":      `{"workspaceId":"ws_new"}`,
	"/api/workspace.delete":      `{"workspaceId":"ws_001","confirm":"ws_001"}`,
	"/api/workspace.rename":      `{"workspaceId":"ws_002","to":"renamed"}`,
	"/api/workspace.settings":    `{"workspaceId":"ws_001","maxConnections":2}`,
}

// badBodies are all ways in which a body can be wrong that do not depend on the
// route, made of a good one.
func badBodies(t *testing.T, good string) map[string]string {
	bad := map[string]string{
		"nothing":           " ",
		"no JSON":           "workspaceId=ws_001",
		"half of it":        good[:len(good)/2],
		"two":               good + good,
		"rubbish behind it": good + "}",
		"an array":          "[" + good + "]",
		"a string":          `"ws_001"`,
		"a number":          "1",
		"null":              "null",
		"true":              "true",
		"an empty object":   "{}",
		"an unknown field":  strings.Replace(good, "{", `{"unknown":1,`, 1),
		"deep":              strings.Repeat(`{"workspaceId":`, 20_000),
		"deep arrays":       strings.Repeat(`[`, 200_000),
		"no UTF-8":          "{\"workspaceId\":\"\xff\xfe\"}",
		"NUL":               "{\"workspaceId\":\"a\x00b\"}",
		"HTML":              `{"workspaceId":"<script>alert(1)</script>"}`,
		"a path":            `{"workspaceId":"../../etc/passwd"}`,
		"SQL":               `{"workspaceId":"x\"; drop database postgres; --"}`,
		"a long id":         `{"workspaceId":"` + strings.Repeat("x", 64) + `"}`,
		"a huge id":         `{"workspaceId":"` + strings.Repeat("x", 500_000) + `"}`,
		"a huge number":     `{"workspaceId":1e999999}`,
		"no id":             `{"workspaceId":""}`,
		"a huge field":      `{"` + strings.Repeat("x", 500_000) + `":1}`,
		"a huge literal":    `{"workspaceId":` + strings.Repeat("9", 500_000) + `}`,
	}
	fields := map[string]any{}
	if err := json.Unmarshal([]byte(good), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		for _, wrong := range []string{`[]`, `{}`, `"x y"`, `-1.5`, `true`, `1e99`, `99999999999999999999`} {
			if name == "args" && wrong == `[]` || name == "sql" && wrong == `"x y"` || name == "readOnly" && wrong == `true` {
				continue // these are right
			}
			raw := map[string]json.RawMessage{}
			if err := json.Unmarshal([]byte(good), &raw); err != nil {
				t.Fatal(err)
			}
			raw[name] = json.RawMessage(wrong)
			text, err := json.Marshal(raw)
			if err != nil {
				t.Fatal(err)
			}
			bad[fmt.Sprintf("%s is %s", name, wrong)] = string(text)
		}
	}
	return bad
}

// caller is who may call a route.
func caller(path string) Role {
	if path == queryPath {
		return Service
	}
	return Operator
}

func TestNoBadBodyReachesThePoolOrMakesA500(t *testing.T) {
	rig := newHandlersRig(t)
	for path, good := range goodBodies {
		for name, bad := range badBodies(t, good) {
			if bad == good {
				continue
			}
			status, answer := rig.do(caller(path), path, bad)
			forbidden := path == queryPath && status == http.StatusForbidden // a workspace that the token does not name
			want := http.StatusBadRequest
			if path != queryPath && len(bad) > controlBody {
				want = http.StatusRequestEntityTooLarge
			}
			var refusal errorBody
			if err := json.Unmarshal([]byte(answer), &refusal); err != nil || refusal.Error == "" || status != want && !forbidden {
				t.Errorf("%s: %s: %d %s", path, name, status, answer)
			}
			if len(answer) > 1000 {
				t.Errorf("%s: %s: %d bytes are answered", path, name, len(answer))
			}
		}
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
	rig.holdsNoSecret()
}

// holdsNoSecret wants none of the rig's tokens in what was logged.
func (rig *handlersRig) holdsNoSecret() {
	rig.t.Helper()
	for role, token := range rig.tokens {
		if strings.Contains(rig.log.String(), token) {
			rig.t.Errorf("the %s's token is in the log", role)
		}
	}
}

func TestABodyThatIsNullIsNoObject(t *testing.T) {
	rig := newHandlersRig(t)
	for path := range goodBodies {
		rig.refused(caller(path), path, " null\n", http.StatusBadRequest, "the body must be a JSON object, not null")
	}
}

func TestWrongFieldsAreNamed(t *testing.T) {
	rig := newHandlersRig(t)
	for _, wrong := range []struct{ path, body, word string }{
		{"admin.evictWorkspace", `{"workspaceId":5}`, "workspaceId"},
		{"admin.evictWorkspace", `{}`, "workspaceId is required"},
		{"admin.evictWorkspace", `{"workspaceId":"a b"}`, "workspaceId is not valid"},
		{"admin.evictWorkspace", `{"workspace":"a"}`, `"workspace"`},
		{"admin.pauseWorkspace", `{"workspaceId":"a","waitMs":"1"}`, "waitMs"},
		{"admin.pauseWorkspace", `{"workspaceId":"a","waitMs":-1}`, "waitMs is -1: it must be from 0 to 60000"},
		{"admin.pauseWorkspace", `{"workspaceId":"a","waitMs":60001}`, "waitMs is 60001"},
		{"admin.setLimits", `{"maxConnections":"many"}`, "maxConnections"},
		{"admin.setLimits", `{"maxConnectionsPerDB":1.5}`, "maxConnectionsPerDB"},
		{"admin.drain", `{"confirm":true}`, "confirm"},
		{"workspace.delete", `{"workspaceId":"a","confirm":1}`, "confirm"},
		{"workspace.settings", `{"workspaceId":"a","maxConnections":"2"}`, "maxConnections"},
		{"workspace.settings", `{"workspaceId":"a","maxConnections":-2}`, "maxConnections is -2"},
		{"workspace.rename", `{"workspaceId":"a"}`, "to is not valid"},
		{"workspace.rename", `{"workspaceId":"a","to":"a b"}`, "to is not valid"},
	} {
		rig.refused(Operator, "/api/"+wrong.path, wrong.body, http.StatusBadRequest, wrong.word)
	}
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.Query.MaxBody = 1000 })
	for path, good := range goodBodies {
		for _, large := range []string{
			strings.Repeat(" ", 1000) + good,
			`{"workspaceId":"` + strings.Repeat("x", 10_000_000) + `"}`,
		} {
			rig.refused(caller(path), path, large, http.StatusRequestEntityTooLarge, "larger than 1000 bytes")
		}
	}
	// Nobody reads these either, and the client sees why.
	large := strings.Repeat(" ", 10_000_000)
	rig.refused("", queryPath, large, http.StatusUnauthorized, "Authorization header is required")
	rig.refused(Viewer, queryPath, large, http.StatusForbidden, "your role may not do this")
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
}

func TestOnlyAStatementMayBeLong(t *testing.T) {
	rig := newHandlersRig(t)
	described := operations(func() (all map[string]any) {
		if err := json.Unmarshal(rig.server.description, &all); err != nil {
			t.Fatal(err)
		}
		return all
	}())
	for path, good := range goodBodies {
		most := 16 << 10
		if path == queryPath {
			most = 1 << 20
		}
		rig.refused(caller(path), path, strings.Repeat(" ", most-len(good)+1)+good, http.StatusRequestEntityTooLarge, fmt.Sprintf("larger than %d bytes", most))
		if status, answer := rig.do(caller(path), path, strings.Repeat(" ", most-len(good))+good); status > http.StatusCreated {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		if body := described["POST "+path]["requestBody"].(map[string]any); body["description"] != fmt.Sprintf("At most %d bytes.", most) {
			t.Errorf("%s: %v", path, body["description"])
		}
	}
}

func TestABodyOfAnotherKindIsRefused(t *testing.T) {
	rig := newHandlersRig(t)
	for path, good := range goodBodies {
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "\x7f"} {
			request := rig.request(caller(path), path, good)
			request.Header.Set("Content-Type", strings.Trim(kind, "\x7f"))
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("%s %q: %d", path, kind, response.StatusCode)
			}
		}
	}
}

// The other way round: the good bodies are good.
func TestTheGoodBodiesAreAccepted(t *testing.T) {
	for _, r := range routes {
		if r.method == http.MethodPost && goodBodies[r.path] == "" {
			t.Errorf("%s has no example here", r.path)
		}
	}
	for path, good := range goodBodies {
		rig := newHandlersRig(t)
		if status, answer := rig.do(caller(path), path, good); status != http.StatusOK && status != http.StatusCreated {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}
