package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
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

// The turn is taken before anything is made of the body, and given back however it ends.
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
	const nonsense = `{"workspaceId":`
	rig.tooMany(http.StatusTooManyRequests, Service, queryPath, nonsense, "has 2 statements at once")
	rig.server.queries.end("the service")
	rig.take(rig.server.queries, "somebody")
	rig.tooMany(http.StatusServiceUnavailable, Service, queryPath, nonsense, "there are 3 statements at once")
}

// A client that stops in a large body has none of the statements' turns, and of those for
// bodies its subject's only. Short bodies need none.
func TestBodiesThatDoNotComeTakeNoStatementsTurn(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		s.queries, s.bodies = newTurns(1, 1), newTurns(3, 2)
		post := func(subject, framing, body string) (answer func() string) {
			token := issued(t, s.key, Claims{Subject: subject, Role: Service, Workspaces: []model.WorkspaceID{"a"}, TTL: time.Hour}, time.Now())
			conn := dial()
			go fmt.Fprint(conn, "POST "+queryPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "+token+"\r\n"+framing+"\r\n\r\n"+body)
			return func() string {
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				said, _ := io.ReadAll(response.Body)
				return fmt.Sprint(response.StatusCode, " ", strings.TrimSpace(string(said)))
			}
		}
		const large, small = `{"workspaceId":"a","sql":"select 1"}`, `{"workspaceId":"a","sql":"select 2"}`
		spaces := strings.Repeat(" ", controlBody)
		began := time.Now()
		want := func(who, framing, body, answer string) {
			t.Helper()
			if got := post(who, framing, body)(); !strings.HasPrefix(got, answer) || time.Since(began) > 0 {
				t.Errorf("%s, after %v: %.200s, want %s", who, time.Since(began), got, answer)
			}
		}
		stalled := []func() string{
			post("anna", "Content-Length: 100000", "{"),
			post("anna", "Transfer-Encoding: chunked", "1\r\n{"),
			post("anna", "Content-Length: 16384", "{"), // as short as any other call's
		}
		synctest.Wait()
		want("anna", "Content-Length: 100000", "{", `429 {"error":"\"anna\" has 2 large bodies under way at once`)
		want("bert", fmt.Sprintf("Content-Length: %d", len(large)+len(spaces)), large+spaces, "200 ")
		want("anna", fmt.Sprintf("Content-Length: %d", len(small)), small, "200 ")
		stalled = append(stalled, post("bert", "Content-Length: 100000", "{"))
		synctest.Wait()
		want("cleo", "Transfer-Encoding: chunked", "1\r\n{", `503 {"error":"there are 3 large bodies under way at once`)
		want("cleo", fmt.Sprintf("Content-Length: %d", len(small)), small, "200 ")
		for _, answer := range stalled {
			if got := answer(); !strings.HasPrefix(got, `408 {"error":"the body did not come within 30s"`) {
				t.Error(got)
			}
		}
		if !s.bodies.none() || !s.queries.none() {
			t.Error("turns are left")
		}
	})
}

// Nothing of such a body is read, nor does it have a turn.
func TestABodyThatIsSaidToBeTooLargeIsRefusedAtOnce(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		s.bodies = newTurns(0, 0)
		began := time.Now()
		for path, limit := range map[string]int{queryPath: 1 << 20, "/api/admin.drain": controlBody, "/api/admin.renewAll": controlBody} {
			role := Operator
			if path == queryPath {
				role = Service
			}
			for _, length := range []string{fmt.Sprint(limit + 1), "100000000", "9223372036854775807"} {
				conn := dial()
				go fmt.Fprint(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "+s.token(t, role)+"\r\nContent-Length: "+length+"\r\n\r\n{")
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				said, _ := io.ReadAll(response.Body)
				if response.StatusCode != 413 || !strings.Contains(string(said), fmt.Sprintf("the body is larger than %d bytes", limit)) || time.Since(began) > 0 {
					t.Errorf("%s, %s bytes, after %v: %d %s", path, length, time.Since(began), response.StatusCode, said)
				}
			}
		}
	})
}
