package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/web"
)

// serveOnFrozen has had a connection to a workspace when PostgreSQL freezes.
func serveOnFrozen(t *testing.T, pg *localpg.Server) *served {
	t.Helper()
	s := serveOn(t, pg, "Serving")
	if status, body := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`); status != 201 {
		t.Fatal(status, body)
	}
	if status, body := s.ask(web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`); status != 200 {
		t.Fatal(status, body)
	}
	signalAll(t, pg, syscall.SIGSTOP)
	t.Cleanup(func() { signalAll(t, pg, syscall.SIGCONT) })
	return s
}

// The server neither closes connections nor says whether it has. It is waited for once,
// and not for each of the shares.
func TestServeEndsSoonAlthoughPostgreSQLIsFrozen(t *testing.T) {
	s := serveOnFrozen(t, ownServer(t))
	began := time.Now()
	s.signal(syscall.SIGTERM)
	if status, took := s.ended(), time.Since(began); status != 0 || took > drainWithin/2 {
		t.Errorf("exit status %d after %v:\n%s", status, took, s.stderr())
	}
}

func TestASecondSIGTERMEndsServeAlthoughAStatementHangs(t *testing.T) {
	s := serveOnFrozen(t, ownServer(t))
	asking := *s
	asking.tokens, asking.answers = nil, bytes.Buffer{}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		asking.ask(web.Service, "/api/workspace.query", `{"workspaceId":"shop","sql":"SELECT 1"}`)
	}()
	eventually(t, "the statement is under way", func() bool {
		_, stats := s.ask(web.Viewer, "/api/admin.connectionStats", "")
		return strings.Contains(stats, `"inUse":1`)
	})
	s.signal(syscall.SIGTERM)
	s.insist(syscall.SIGTERM) // those of the first second do not count
	status, again := s.ended(), s.with("Interrupted again: not waiting any longer")
	if status != exitInterrupted || len(again) != 1 || again[0]["signal"] != "SIGTERM" || again[0]["level"] != "error" || strings.Contains(s.stderr(), "Draining") {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
	<-asked
}

// tokenOf is a new token of the subject.
func (s *served) tokenOf(subject string, role web.Role) string {
	s.t.Helper()
	c := web.Claims{Subject: subject, Role: role, TTL: time.Hour}
	if role == web.Service {
		c.Workspaces = append(c.Workspaces, "shop")
	}
	token, err := web.Issue(s.key, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func TestTheBoundsOfRequestsReachTheServer(t *testing.T) {
	for name, value := range map[string]string{
		"TENANTPOOL_MAX_QUERIES": "2", "TENANTPOOL_MAX_QUERIES_PER_SUBJECT": "1",
		"TENANTPOOL_MAX_STREAMS": "4", "TENANTPOOL_MAX_STREAMS_PER_SUBJECT": "3",
	} {
		t.Setenv(name, value)
	}
	s := startServe(t)
	if status, body := s.ask(web.Operator, "/api/workspace.create", `{"workspaceId":"shop"}`); status != 201 {
		t.Fatal(status, body)
	}
	refused := func(want, token, path, body string) {
		t.Helper()
		if status, answer := s.askWith(token, path, body); !strings.HasPrefix(fmt.Sprint(status, " ", answer), want) {
			t.Errorf("%s: %d %s, want %s", path, status, answer, want)
		}
	}
	const query = `{"workspaceId":"shop","sql":"SELECT 1"}`
	giveUp, first := s.holdStatement() // of the subject test
	refused(`429 {"error":"\"test\" has 1 statements at once`, s.tokenOf("test", web.Service), "/api/workspace.query", query)
	second, other, asking := make(chan int, 1), s.tokenOf("other", web.Service), *s
	asking.tokens, asking.answers = nil, bytes.Buffer{}
	go func() {
		status, _ := asking.askWith(other, "/api/workspace.query", waitForLock)
		second <- status
	}()
	eventually(t, "two statements are under way", func() bool {
		_, stats := s.ask(web.Viewer, "/api/admin.connectionStats", "")
		return strings.Contains(stats, `"inUse":2`)
	})
	refused(`503 {"error":"there are 2 statements at once`, s.tokenOf("third", web.Service), "/api/workspace.query", query)
	giveUp()
	if one, two := <-first, <-second; !strings.HasPrefix(one, "200 ") || two != 200 {
		t.Errorf("the statements under way: %s, %d", one, two)
	}

	const events = "/api/admin.events"
	for _, subject := range []string{"test", "test", "test", "other"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+events, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.tokenOf(subject, web.Viewer))
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(r)
		if err != nil || response.StatusCode != 200 {
			t.Fatal(response, err)
		}
		defer response.Body.Close()
	}
	refused(`429 {"error":"\"test\" has 3 event streams at once`, s.tokenOf("test", web.Viewer), events, "")
	refused(`503 {"error":"there are 4 event streams at once`, s.tokenOf("third", web.Viewer), events, "")
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}

func TestServeRefusesMoreOfOneSubjectThanOfAll(t *testing.T) {
	prepareServe(t, shared.Server(t))
	ended, end := context.WithCancel(t.Context())
	end() // what is accepted ends at once
	var said strings.Builder
	for _, test := range []struct{ all, each, allIs, eachIs, want string }{
		{"TENANTPOOL_MAX_QUERIES", "TENANTPOOL_MAX_QUERIES_PER_SUBJECT", "30", "31", "31 statements of one subject are more than the 30 of all"},
		{"TENANTPOOL_MAX_QUERIES", "TENANTPOOL_MAX_QUERIES_PER_SUBJECT", "", "101", "101 statements of one subject are more than the 100 of all"},
		{"TENANTPOOL_MAX_STREAMS", "TENANTPOOL_MAX_STREAMS_PER_SUBJECT", "10", "11", "11 event streams of one subject are more than the 10 of all"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Setenv(test.all, test.allIs)
			t.Setenv(test.each, test.eachIs)
			err := serveUntil(ended, "127.0.0.1:0", nil, &said)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.each) || !strings.Contains(err.Error(), test.all+")") {
				t.Error(err)
			}
		})
	}
	// Where only all of them are bounded, one subject may have as many.
	t.Setenv("TENANTPOOL_MAX_QUERIES", "1")
	t.Setenv("TENANTPOOL_MAX_STREAMS", "1")
	if err := serveUntil(ended, "127.0.0.1:0", nil, &said); err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
}
