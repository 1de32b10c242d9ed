package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// none tells whether no turn is taken.
func (t *turns) none() bool {
	taken := <-t.taken
	defer func() { t.taken <- taken }()
	return len(taken) == 0
}

// take is another request's turn, which does not end.
func (rig *handlersRig) take(t *turns, subject string) {
	rig.t.Helper()
	if _, err := t.take(subject, "things"); err != nil {
		rig.t.Fatal(err)
	}
}

// tooMany asks for what is refused for now.
func (rig *handlersRig) tooMany(status int, role Role, path, body, word string) {
	rig.t.Helper()
	r := rig.request(role, path, body)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		rig.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer errorBody
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != status || !strings.Contains(answer.Error, word) || response.Header.Get("Retry-After") != "1" {
		rig.t.Errorf("%s: %d %v %+v %v", path, response.StatusCode, response.Header, answer, err)
	}
}

func TestTurnsAreNeverMoreThanTheirBounds(t *testing.T) {
	const all, each = 7, 3
	turns := newTurns(all, each)
	var now, served atomic.Int64
	var of [4]atomic.Int64
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			who := i % len(of)
			for served.Load() < 2000 {
				giveBack, err := turns.take(fmt.Sprint(who), "things")
				if err != nil {
					continue
				}
				if n := now.Add(1); n > all {
					t.Errorf("%d at once", n)
				}
				if n := of[who].Add(1); n > each {
					t.Errorf("%d of one subject at once", n)
				}
				served.Add(1)
				of[who].Add(-1)
				now.Add(-1)
				giveBack()
			}
		})
	}
	clients.Wait()
	if !turns.none() {
		t.Error("turns are left")
	}
}

// The turn is taken before the body is read, and given back however it ends.
func TestStatementsAreBoundedInAllAndForEachSubject(t *testing.T) {
	rig := newHandlersRig(t)
	rig.server.queries = newTurns(3, 2)
	for _, body := range []string{`{"workspaceId":"ws_001","sql":"select 1"}`, `{`, `{"workspaceId":"ws_003","sql":"select 1"}`} {
		rig.do(Service, queryPath, body)
		if !rig.server.queries.none() {
			t.Errorf("after %s a turn is left", body)
		}
	}
	rig.take(rig.server.queries, "somebody")
	rig.take(rig.server.queries, "the service")
	rig.want(Service, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`, http.StatusOK,
		`{"columns":[],"rows":[],"command":"SELECT 0","rowsAffected":0,"truncated":false}`)
	rig.take(rig.server.queries, "the service")
	const unread = `{"workspaceId":`
	rig.tooMany(http.StatusTooManyRequests, Service, queryPath, unread, "has 2 statements at once")
	rig.server.queries.end("the service")
	rig.take(rig.server.queries, "somebody")
	rig.tooMany(http.StatusServiceUnavailable, Service, queryPath, unread, "there are 3 statements at once")
}
