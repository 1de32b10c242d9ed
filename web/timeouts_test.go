package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
)

// pipes is a listener without a network, so that a test can have its own time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

// inOwnTime serves while test runs, to the connections that dial makes.
func inOwnTime(t *testing.T, own []route, test func(t *testing.T, s *shellTest, dial func() net.Conn), change ...func([]route) []route) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t, own...)
		for _, f := range change {
			s.routes = f(s.routes)
		}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- s.Serve(ctx, l) }()
		test(t, s, func() net.Conn {
			near, far := net.Pipe()
			l.conns <- far
			t.Cleanup(func() { _ = near.Close() })
			return near
		})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// until reads to the connection's end, and says when that was.
func until(t *testing.T, conn net.Conn) (after time.Duration, all string) {
	t.Helper()
	began := time.Now()
	read, _ := io.ReadAll(conn)
	return time.Since(began), string(read)
}

func TestAClientThatStopsInItsHeadersIsLetGo(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, _ *shellTest, dial func() net.Conn) {
		conn := dial()
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n")
		if after, _ := until(t, conn); after != 10*time.Second {
			t.Errorf("after %v", after)
		}
	})
}

func TestAClientThatStopsInItsBodyIsLetGo(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		conn := dial()
		go fmt.Fprint(conn, "POST /api/admin.drain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"+
			"Authorization: Bearer "+s.token(t, Operator)+"\r\n\r\n{")
		after, answer := until(t, conn)
		if after != 30*time.Second || !strings.HasPrefix(answer, "HTTP/1.1 408 ") || !strings.Contains(answer, "the body did not come within 30s") {
			t.Errorf("after %v: %s", after, answer)
		}
	})
}

// The answer does not wait for a body that nobody reads.
func TestAStrangerThatStopsInItsBodyIsAnsweredAtOnceAndLetGo(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		for what, head := range map[string]struct{ request, status string }{
			"no token":     {"POST /api/admin.drain", "401"},
			"wrong role":   {"POST /api/admin.drain HTTP/1.1\r\nAuthorization: Bearer " + s.token(t, Viewer), "403"},
			"no JSON":      {"POST /api/admin.drain HTTP/1.1\r\nAuthorization: Bearer " + s.token(t, Operator), "41"}, // 415, or 413
			"no route":     {"POST /nowhere", "404"},
			"wrong method": {"PUT /api/admin.drain", "405"},
			"needs none":   {"GET /healthz", "200"},
		} {
			for _, length := range []string{"Content-Length: 100", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
				request, headers, _ := strings.Cut(head.request, " HTTP/1.1")
				conn := dial()
				go fmt.Fprint(conn, request+" HTTP/1.1"+headers+"\r\nHost: x\r\n"+length+"\r\n\r\n5\r\n{")
				began := time.Now()
				in := bufio.NewReader(conn)
				answer, err := http.ReadResponse(in, nil)
				if err != nil || !strings.HasPrefix(answer.Status, head.status) || !answer.Close || time.Since(began) > 0 {
					t.Errorf("%s, %s: after %v: %v %+v", what, length, time.Since(began), err, answer)
				}
				_, _ = io.ReadAll(in)
				if after := time.Since(began); after > time.Second {
					t.Errorf("%s, %s: the connection is closed after %v", what, length, after)
				}
			}
		}
	})
}

// Who has sent all of it goes on using the connection.
func TestAConnectionStaysOpenAfterABodyThatWasRead(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		conn := dial()
		in := bufio.NewReader(conn)
		for range 3 {
			go fmt.Fprint(conn, "POST /api/admin.renewAll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"+
				"Authorization: Bearer "+s.token(t, Operator)+"\r\n\r\n{}")
			answer, err := http.ReadResponse(in, nil)
			if err != nil || answer.StatusCode != 200 || answer.Close {
				t.Fatalf("%v %+v", err, answer)
			}
			_, _ = io.ReadAll(answer.Body)
			time.Sleep(bodyTimeout) // its deadline was for that body only
		}
	})
}

func TestAnIdleClientIsLetGo(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, _ *shellTest, dial func() net.Conn) {
		conn := dial()
		go fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if after, answer := until(t, conn); after != 2*time.Minute || !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Errorf("after %v: %s", after, answer)
		}
	})
}

func TestAClientThatDoesNotReadItsAnswerIsLetGo(t *testing.T) {
	var ended chan time.Time // made in the bubble
	large := open("GET", "/large", func(_ *Server, c echo.Context) error {
		time.Sleep(time.Hour) // the handler's own time does not count
		defer func() { ended <- time.Now() }()
		return c.String(http.StatusOK, strings.Repeat("a", 1<<20))
	})
	inOwnTime(t, []route{large}, func(t *testing.T, _ *shellTest, dial func() net.Conn) {
		ended = make(chan time.Time, 1)
		began := time.Now()
		conn := dial()
		fmt.Fprint(conn, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		if after := (<-ended).Sub(began); after != time.Hour+30*time.Second {
			t.Errorf("after %v", after)
		}
	})
}

func TestAnEventStreamLastsAsLongAsItsReaderReads(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		conn := dial()
		go fmt.Fprint(conn, "GET /api/admin.events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+s.token(t, Viewer)+"\r\n\r\n")
		began := time.Now()
		for reader := bufio.NewReader(conn); time.Since(began) < 10*time.Minute; {
			if _, err := reader.ReadString('\n'); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		// And no longer: the server gives up a client that has stopped reading.
		pool := s.pool.(*fakePool)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := pool.watching(); n != 0 {
			t.Errorf("%d streams are still open", n)
		}
	})
}

func TestADeadlineDoesNotOutliveItsRequest(t *testing.T) {
	inOwnTime(t, nil, func(t *testing.T, _ *shellTest, dial func() net.Conn) {
		conn := dial()
		reader := bufio.NewReader(conn)
		for range 3 {
			go fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 {
				t.Fatalf("%d %v", response.StatusCode, err)
			}
			time.Sleep(time.Minute) // longer than an answer's time, shorter than idle
		}
	})
}
