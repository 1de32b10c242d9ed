package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// watch opens a stream and reads past its first line; lines gives the next ones
// that are not empty, "" at the end.
func (rig *handlersRig) watch() (response *http.Response, line func() string) {
	rig.t.Helper()
	response, err := http.DefaultClient.Do(rig.request(Viewer, "/api/admin.events", ""))
	if err != nil {
		rig.t.Fatal(err)
	}
	rig.t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	line = func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return lines.Text()
			}
		}
		return ""
	}
	if first := line(); first != ": connected" {
		rig.t.Fatalf("%d %q", response.StatusCode, first)
	}
	return response, line
}

func TestEventsAreToldAsTheyHappen(t *testing.T) {
	rig := newHandlersRig(t)
	response, line := rig.watch()
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("", 3600))
	for _, happened := range []struct {
		event model.Event
		want  []string
	}{
		{
			model.Event{At: at, Kind: model.EventDialed, Workspace: "ws_001", Took: 1500 * time.Microsecond},
			[]string{"id: 1", "event: dialed", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"dialed","workspaceId":"ws_001","tookMs":1.5}`},
		}, {
			model.Event{At: at, Kind: model.EventEvicted, Workspace: "ws_001", Reason: model.MakeRoom, IdleFor: 2 * time.Second, For: "ws_002"},
			[]string{"id: 2", "event: evicted", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"evicted","workspaceId":"ws_001","reason":"make_room","idleForMs":2000,"forWorkspaceId":"ws_002"}`},
		}, {
			model.Event{At: at, Kind: model.EventDialFailed, System: true, Err: "refused\nby \"it\""},
			[]string{"id: 3", "event: dial_failed", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"dial_failed","system":true,"error":"refused\nby \"it\""}`},
		}, {
			model.Event{At: at, Kind: model.EventLimitsSet, MaxConnections: 50, MaxConnectionsPerDB: 2, Why: "7 requests waited for room", Lost: 7},
			[]string{"id: 4", "event: limits_set", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"limits_set","maxConnections":50,"maxConnectionsPerDB":2,"why":"7 requests waited for room","lost":7}`},
		}, {
			model.Event{At: at, Kind: model.EventLeaseOverdue, Workspace: "ws_001", HeldFor: time.Minute},
			[]string{"id: 5", "event: lease_overdue", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"lease_overdue","workspaceId":"ws_001","heldForMs":60000}`},
		}, {
			model.Event{At: at, Kind: model.EventUtilisation, Level: model.LevelCritical},
			[]string{"id: 6", "event: utilisation", `data: {"at":"2026-01-02T02:04:05.6Z","kind":"utilisation","level":"critical"}`},
		},
	} {
		rig.pool.tell(happened.event)
		for _, want := range happened.want {
			if got := line(); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		}
	}
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	rig := newHandlersRig(t)
	response, _ := rig.watch()
	if rig.pool.watching() != 1 {
		t.Error("nobody watches")
	}
	_ = response.Body.Close()
	soon(t, "nobody watches", func() bool { return rig.pool.watching() == 0 && rig.server.streams.none() })
}

func TestAStreamEndsWhenTheServerOrThePoolDoes(t *testing.T) {
	for name, end := range map[string]func(*handlersRig){
		"server": func(rig *handlersRig) { rig.server.Close() },
		"pool":   func(rig *handlersRig) { _ = rig.pool.Close(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			rig := newHandlersRig(t)
			_, line := rig.watch()
			end(rig)
			if got := line(); got != "" {
				t.Error(got)
			}
			soon(t, "nobody watches", func() bool { return rig.pool.watching() == 0 && rig.server.streams.none() })
		})
	}
}

func TestAClosedPoolHasNoStream(t *testing.T) {
	rig := newHandlersRig(t)
	_ = rig.pool.Close(t.Context())
	rig.refused(Viewer, "/api/admin.events", "", http.StatusServiceUnavailable, "closed")
	if !rig.server.streams.none() {
		t.Error("streams are counted")
	}
}

func TestStreamsAreBoundedInAllAndForEachSubject(t *testing.T) {
	rig := newHandlersRig(t)
	for i := range 100 {
		if i < 20 {
			rig.take(rig.server.streams, "the viewer")
		}
		if i == 20 {
			rig.tooMany(http.StatusTooManyRequests, Viewer, eventsPath, "", "as many as one subject may have")
		}
		if i >= 20 {
			rig.take(rig.server.streams, fmt.Sprint("other", i))
		}
	}
	rig.tooMany(http.StatusServiceUnavailable, Operator, eventsPath, "", "as many as there may be")
}

// A client that does not read loses events, learns how many, and makes nobody
// wait.
func TestASlowReaderIsToldHowManyEventsItLost(t *testing.T) {
	rig := newHandlersRig(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(rig.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := rig.request(Viewer, "/api/admin.events", "").Write(conn); err != nil {
		t.Fatal(err)
	}
	soon(t, "somebody watches", func() bool { return rig.pool.watching() == 1 })
	long := strings.Repeat("x", 4096)
	const many = 10_000 // 40 MB: more than the sockets hold
	for i := range many {
		rig.pool.tell(model.Event{Kind: model.EventDialFailed, Err: long, MaxConnections: i + 1})
	}
	// The news of what was lost comes with an event that was not.
	done := make(chan struct{})
	defer close(done)
	go func() {
		for i := many; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				rig.pool.tell(model.Event{Kind: model.EventDialed, MaxConnections: i + 1})
			}
		}
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(answer.Body)
	var lost uint64
	for last := 0; last <= many; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(last, err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var e eventAnswer
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatal(err)
			}
			if e.MaxConnections != last+1+int(e.Lost) {
				t.Fatalf("event %d after event %d says that %d were lost", e.MaxConnections, last, e.Lost)
			}
			last = e.MaxConnections
			lost += e.Lost
		}
	}
	if lost == 0 {
		t.Error("nothing was lost")
	}
}

// memoryStream is a response without a network, for tests in a synctest bubble.
type memoryStream struct {
	header   http.Header
	mu       sync.Mutex
	text     strings.Builder
	deadline time.Time
	fail     error
}

func (m *memoryStream) Header() http.Header { return m.header }
func (m *memoryStream) WriteHeader(int)     {}
func (m *memoryStream) Flush()              {}
func (m *memoryStream) SetWriteDeadline(until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deadline = until
	return nil
}

func (m *memoryStream) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	return m.text.Write(p)
}

func (m *memoryStream) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// inBubble runs a stream of the pool's events without a network.
func inBubble(t *testing.T, who identity, f func(pool *fakePool, out *memoryStream, ended <-chan struct{}), change ...func(*Server)) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool()
		server := &Server{pool: pool, streams: newTurns(1, 1), ending: context.Background()}
		server.access.Store(&access{})
		for _, f := range change {
			f(server)
		}
		ctx, stop := context.WithCancel(t.Context())
		out := &memoryStream{header: http.Header{}}
		request := httptest.NewRequest(http.MethodGet, "/api/admin.events", nil).WithContext(ctx)
		c := echo.New().NewContext(request, out)
		c.Set(identityKey, who)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := server.events(c); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		f(pool, out, ended)
		stop()
		<-ended
		synctest.Wait()
		if n := pool.watching(); n != 0 {
			t.Errorf("%d watch", n)
		}
	})
}

func TestAQuietStreamShowsThatItLives(t *testing.T) {
	inBubble(t, identity{}, func(pool *fakePool, out *memoryStream, _ <-chan struct{}) {
		time.Sleep(31 * time.Second) // of the bubble's time
		if got := out.String(); got != ": connected\n\n: heartbeat\n\n: heartbeat\n\n" {
			t.Errorf("%q", got)
		}
		pool.tell(model.Event{Kind: model.EventPaused})
		time.Sleep(14500 * time.Millisecond) // 15.5 s after the second heartbeat, 14.5 after the event
		if n := strings.Count(out.String(), "heartbeat"); n != 2 {
			t.Errorf("%d heartbeats", n)
		}
	})
}

func TestEveryWriteOfAStreamHasADeadline(t *testing.T) {
	inBubble(t, identity{}, func(pool *fakePool, out *memoryStream, _ <-chan struct{}) {
		time.Sleep(time.Hour + time.Second)
		pool.tell(model.Event{Kind: model.EventPaused})
		synctest.Wait()
		if left := time.Until(out.deadline); left != writeTimeout {
			t.Errorf("%v", left)
		}
	})
}

func TestAStreamWhoseClientDoesNotReadIsGivenUp(t *testing.T) {
	inBubble(t, identity{}, func(pool *fakePool, out *memoryStream, ended <-chan struct{}) {
		out.mu.Lock()
		out.fail = errors.New("i/o timeout")
		out.mu.Unlock()
		pool.tell(model.Event{Kind: model.EventPaused})
		<-ended
		synctest.Wait()
		if pool.watching() != 0 {
			t.Error("the pool tells it on")
		}
	})
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	var until time.Time
	synctest.Test(t, func(*testing.T) { until = time.Now().Add(time.Minute) }) // each bubble begins at the same time
	inBubble(t, identity{Expires: until}, func(_ *fakePool, _ *memoryStream, ended <-chan struct{}) {
		time.Sleep(time.Minute - 1)
		select {
		case <-ended:
			t.Error("too early")
		default:
		}
		<-ended
	})
}

func TestALastEventIDIsIgnored(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.tell(model.Event{Kind: model.EventPaused}) // nobody watches yet
	request := rig.request(Viewer, "/api/admin.events", "")
	request.Header.Set("Last-Event-ID", "41")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	rig.pool.tell(model.Event{Kind: model.EventResumed})
	first := make([]byte, len(": connected\n\nid: 1\nevent: resumed\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != ": connected\n\nid: 1\nevent: resumed\n" {
		t.Errorf("%q %v", first, err)
	}
}
