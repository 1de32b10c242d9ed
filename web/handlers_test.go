package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// handlersRig is a server on a real socket, with its pool, its log and a token for
// each role.
type handlersRig struct {
	t      *testing.T
	pool   *fakePool
	server *Server
	log    *logBook
	url    string
	tokens map[Role]string
	api    func() contract
}

// served are the workspaces that the rig's service token names.
var served = []model.WorkspaceID{"ws_001", "ws_002"}

func newHandlersRig(t *testing.T, change ...func(*Options)) *handlersRig {
	t.Helper()
	key := NewPrivateKey()
	written, log := newLogBook()
	rig := &handlersRig{t: t, pool: newFakePool(), log: written, tokens: map[Role]string{}}
	o := Options{Keys: []PublicKey{key.Public()}, Log: log}
	for _, f := range change {
		f(&o)
	}
	var err error
	if rig.server, err = New(rig.pool, o); err != nil {
		t.Fatal(err)
	}
	rig.api = sync.OnceValue(func() contract { return readContract(t, rig.server.description) })
	for role, workspaces := range map[Role][]model.WorkspaceID{Viewer: nil, Operator: nil, Service: served} {
		rig.tokens[role], err = Issue(key, Claims{Subject: "the " + string(role), Role: role, Workspaces: workspaces, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
	}
	on := httptest.NewServer(rig.server.alone())
	t.Cleanup(on.Close)
	t.Cleanup(rig.server.Close) // before that
	rig.url = on.URL
	return rig
}

// request is one to the rig's server; a body makes it a POST.
func (rig *handlersRig) request(role Role, path, body string) *http.Request {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, rig.url+path, strings.NewReader(body))
	if err != nil {
		rig.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token := rig.tokens[role]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// do returns the status and the body of the answer.
func (rig *handlersRig) do(role Role, path, body string) (status int, answer string) {
	rig.t.Helper()
	request := rig.request(role, path, body)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		rig.t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		rig.t.Fatal(err)
	}
	rig.described(given{request, body, response.StatusCode, response.Header, all})
	return response.StatusCode, strings.TrimSpace(string(all))
}

// want sends a body and compares the whole answer.
func (rig *handlersRig) want(role Role, path, body string, status int, answer string) {
	rig.t.Helper()
	if s, a := rig.do(role, path, body); s != status || a != answer {
		rig.t.Errorf("%s %s: %d %s\nwant %d %s", path, body, s, a, status, answer)
	}
}

// refused sends a body and wants words in the error of the answer.
func (rig *handlersRig) refused(role Role, path, body string, status int, words ...string) {
	rig.t.Helper()
	s, a := rig.do(role, path, body)
	var refusal struct{ Error string }
	if err := json.Unmarshal([]byte(a), &refusal); err != nil || s != status {
		rig.t.Errorf("%s %s: %d %s, want %d", path, body, s, a, status)
		return
	}
	for _, word := range words {
		if !strings.Contains(refusal.Error, word) {
			rig.t.Errorf("%s %s: %q is missing in: %s", path, body, word, refusal.Error)
		}
	}
}

// soon waits for a condition.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
