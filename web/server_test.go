package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
)

// patience bounds every wait; the machine may be busy.
const patience = 30 * time.Second

// serving is a Server on a port of its own.
type serving struct {
	*shellTest
	url    string
	stop   context.CancelFunc
	ended  chan error
	client *http.Client
}

func serveShell(t *testing.T, within time.Duration, own ...route) *serving {
	t.Helper()
	s := &serving{shellTest: startShell(t, own...), ended: make(chan error, 1)}
	s.options.ShutdownTimeout = within
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	transport := &http.Transport{}
	s.client = &http.Client{Transport: transport, Timeout: patience}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		s.stop()
		transport.CloseIdleConnections()
		s.wait(t)
	})
	return s
}

// wait returns what Serve returned.
func (s *serving) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		s.ended <- err // for who waits next
		return err
	case <-time.After(patience):
		t.Fatal("Serve does not return")
		return nil
	}
}

// held is a handler that says when it has begun, and ends when it may, or its
// request is over.
func held(begun, mayEnd chan struct{}) func(*Server, echo.Context) error {
	return func(_ *Server, c echo.Context) error {
		close(begun)
		select {
		case <-mayEnd:
			return c.String(http.StatusOK, "done")
		case <-c.Request().Context().Done():
			return c.Request().Context().Err()
		}
	}
}

func TestServeLetsRequestsEndAndAcceptsNoMore(t *testing.T) {
	begun, mayEnd := make(chan struct{}), make(chan struct{})
	s := serveShell(t, patience, open("GET", "/slow", held(begun, mayEnd)))
	answered := make(chan string, 1)
	go func() {
		response, err := s.client.Get(s.url + "/slow")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answered <- fmt.Sprint(response.StatusCode, " ", string(body))
	}()
	<-begun
	s.stop()
	refused := false
	for deadline := time.Now().Add(patience); !refused && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if refused = err != nil; !refused {
			_ = conn.Close()
		}
	}
	if !refused {
		t.Error("connections are still accepted")
	}
	select {
	case err := <-s.ended:
		t.Fatalf("Serve returned during a request: %v", err)
	default:
	}
	close(mayEnd)
	if got := <-answered; got != "200 done" {
		t.Errorf("the request under way: %s", got)
	}
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
}

func TestServeCutsOffWhatDoesNotEndInTime(t *testing.T) {
	begun := make(chan struct{})
	s := serveShell(t, 10*time.Millisecond, open("GET", "/slow", held(begun, nil)))
	cut := make(chan error, 1)
	go func() {
		response, err := s.client.Get(s.url + "/slow")
		if err == nil {
			_ = response.Body.Close()
		}
		cut <- err
	}()
	<-begun
	s.stop()
	if err := s.wait(t); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "after 10ms and were cut off") {
		t.Errorf("%v", err)
	}
	if err := <-cut; err == nil {
		t.Error("the request was answered")
	}
}

func TestServeEndsEventStreams(t *testing.T) {
	s := serveShell(t, patience)
	r, _ := http.NewRequest("GET", s.url+"/api/admin.events", nil)
	r.Header.Set("Authorization", "Bearer "+s.token(t, Viewer))
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := bufio.NewReader(response.Body)
	if line, err := body.ReadString('\n'); err != nil || response.StatusCode != 200 {
		t.Fatalf("%d %q: %v", response.StatusCode, line, err)
	}
	s.stop()
	if _, err := io.ReadAll(body); err != nil {
		t.Errorf("the stream did not end well: %v", err)
	}
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	s := startShell(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// What a client sent that does not speak HTTP, or stops in the middle, is no
// reason for anybody to wait.
func TestHeadersThatAreTooLargeAreRefused(t *testing.T) {
	s := serveShell(t, patience)
	r, _ := http.NewRequest("GET", s.url+"/healthz", nil)
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 80<<10))
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", response.StatusCode)
	}
}

func TestMountedUnderAPrefixNothingElseOfTheEchoChanges(t *testing.T) {
	s := startShell(t, open("GET", "/panic", func(*Server, echo.Context) error { panic("ours") }))
	e := echo.New()
	handled := 0
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		handled++
		_ = c.String(http.StatusTeapot, "theirs: "+err.Error())
	}
	e.GET("/", func(c echo.Context) error { return c.String(200, "their page") })
	e.GET("/admin/mine", func(c echo.Context) error { return c.String(200, "their route") })
	e.GET("/healthz", func(c echo.Context) error { return errors.New("their error") })
	if err := s.Mount(e, "/admin/pool"); err != nil {
		t.Fatal(err)
	}
	token := s.token(t, Operator)
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "their page"},
		{"GET", "/admin/mine", 200, "their route"},
		{"GET", "/healthz", 418, "theirs: their error"},
		{"GET", "/nowhere", 418, "theirs: code=404"},
		{"GET", "/admin/pool/healthz", 200, `{"status":"ok"}`},
		{"GET", "/admin/pool/panic", 500, `{"error":"internal error"`},
		{"GET", "/admin/pool/api/admin.connectionStats", 200, `{"maxConnections":100`},
		{"POST", "/admin/pool/api/admin.drain", 415, `{"error":"the body must be JSON`},
		{"GET", "/admin/pool/api/openapi.json", 200, `{"openapi":"3.1.0"`},
		{"GET", "/admin/pool/", 200, "<!"},
		{"GET", "/admin/pool", 308, ""},
	} {
		w := send(e, test.method, test.path, "", "Authorization", "Bearer "+token)
		if w.Code != test.status || !strings.HasPrefix(strings.TrimSpace(w.Body.String()), test.body) {
			t.Errorf("%s %s: %d %.100s", test.method, test.path, w.Code, w.Body)
		}
		theirs := !strings.HasPrefix(test.path, "/admin/pool")
		if got := w.Header().Get("X-Frame-Options"); theirs && got != "" {
			t.Errorf("%s has our headers", test.path)
		}
	}
	if handled != 2 {
		t.Errorf("their error handler was asked %d times, not twice", handled)
	}
	if to := send(e, "GET", "/admin/pool", "").Header().Get("Location"); to != "./pool/" {
		t.Errorf("the prefix alone leads to %q", to)
	}
	if w := send(e, "GET", "/admin/pool/api/admin.connectionStats", ""); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}

func TestTheIDOfTheUsersEchoIsKept(t *testing.T) {
	s := startShell(t)
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Response().Header().Set("X-Request-Id", "theirs-1")
			return next(c)
		}
	})
	if err := s.Mount(e, ""); err != nil {
		t.Fatal(err)
	}
	if got := send(e, "GET", "/healthz", "").Header().Values("X-Request-Id"); len(got) != 1 || got[0] != "theirs-1" {
		t.Errorf("%q", got)
	}
}

func TestMountRefusesWhatWouldNotWork(t *testing.T) {
	s := startShell(t)
	for _, prefix := range []string{"/", "admin", "/admin/", "/:tenant", "/a*", "/a?b", "/a#b"} {
		if err := s.Mount(echo.New(), prefix); err == nil || !strings.Contains(err.Error(), `as "/admin"`) {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	e := echo.New()
	e.GET("/admin/healthz", func(c echo.Context) error { return c.String(200, "theirs") })
	if err := s.Mount(e, "/admin"); err == nil || !strings.Contains(err.Error(), "GET /admin/healthz already") {
		t.Errorf("%v", err)
	}
	if len(e.Routes()) != 1 {
		t.Errorf("%d routes after a Mount that failed", len(e.Routes()))
	}
	if err := s.Mount(e, "/admin2"); err != nil {
		t.Error(err)
	}
}
