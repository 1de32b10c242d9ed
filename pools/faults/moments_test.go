package faults

import (
	"bytes"
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// openOver opens a manager over the network, without traffic. It must close within
// seconds, and leave nothing.
func openOver(t *testing.T, w *wire) *pools.Manager {
	t.Helper()
	cfg := config()
	w.between(&cfg)
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger(nil))
	must(t, err)
	t.Cleanup(func() {
		w.heal()
		closeManager(t, m)
	})
	return m
}

// running tells whether the server has that process.
func running(t *testing.T, pid uint32) bool {
	t.Helper()
	var n int
	must(t, control.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, int(pid)).Scan(&n))
	return n == 1
}

// isOpen tells whether a workspace's connection is counted, in whatever state.
func isOpen(t *testing.T, m *pools.Manager) bool {
	t.Helper()
	st, err := m.Stats(t.Context())
	must(t, err)
	return st.Workspaces.Open() > 0
}

// countedUntilGone waits until the manager counts no connection of a workspace. If
// the server has the process still, its slot was free too early.
func countedUntilGone(t *testing.T, m *pools.Manager, pid uint32) {
	t.Helper()
	if !eventually(mustBeBack+slack(), func() bool { return !isOpen(t, m) }) {
		t.Error("its slot is not free")
	}
	if running(t, pid) {
		t.Error("its slot was freed before the server had let go of it")
	}
}

// when decides on the first message to the server that holds the words.
func when(words []byte, then verdict) func(*pair, direction, []byte) verdict {
	done := false
	return func(_ *pair, to direction, data []byte) verdict {
		if done || to != toServer || !bytes.Contains(data, words) {
			return passOn
		}
		done = true
		return then
	}
}

// The server has the query and works on it. Nothing that the client sees then is a
// sign that it does so no more.
func TestAConnectionThatEndsBetweenQueryAndAnswerIsCountedUntilItsProcessIsGone(t *testing.T) {
	for name, end := range map[string]verdict{"reset": orphanAfter, "ended": widowAfter} {
		t.Run(name, func(t *testing.T) {
			w := startWire(t, "127.0.0.1:0")
			m := openOver(t, w)
			conn, err := m.Acquire(t.Context(), workspace(0))
			must(t, err)
			pid := conn.Conn().PgConn().PID()
			w.update(func() { w.look = when([]byte("pg_sleep"), end) })
			_, err = conn.Exec(t.Context(), `SELECT pg_sleep(60)`)
			if causeOf(err) != broken {
				t.Errorf("the query ended with: %v", err)
			}
			if !running(t, pid) {
				t.Fatal("the server stopped by itself, so this test shows nothing")
			}
			conn.Release()
			countedUntilGone(t, m, pid)
		})
	}
}

// Terminate has arrived; the server takes its time to end. (See pools/linger_test.go
// for connections that break before.)
func TestAConnectionThatBreaksWhileItsEndIsAwaitedIsCountedUntilItsProcessIsGone(t *testing.T) {
	for name, breakIt := range map[string]func(*pair) verdict{
		"reset":  func(*pair) verdict { return orphanAfter },
		"silent": func(p *pair) verdict { p.ways[toClient].passage = lost; return passOn },
	} {
		t.Run(name, func(t *testing.T) {
			w := startWire(t, "127.0.0.1:0")
			m := openOver(t, w)
			conn, err := m.Acquire(t.Context(), workspace(0))
			must(t, err)
			pid := conn.Conn().PgConn().PID()
			conn.Release()
			must(t, syscall.Kill(int(pid), syscall.SIGSTOP))
			thaw := func() { _ = syscall.Kill(int(pid), syscall.SIGCONT) }
			t.Cleanup(thaw)
			broke := make(chan struct{})
			w.update(func() {
				farewell := when(terminateMessage, cutAfter)
				w.look = func(p *pair, to direction, data []byte) verdict {
					if farewell(p, to, data) == passOn {
						return passOn
					}
					close(broke)
					return breakIt(p)
				}
			})
			evicted := make(chan error, 1)
			go func() {
				_, err := m.Evict(context.Background(), workspace(0))
				evicted <- err
			}()
			<-broke
			asked := asks(t, m)
			if !eventually(mustBeBack+slack(), func() bool { return asks(t, m) >= asked+3 }) {
				t.Error("the server is not asked whether it has let go")
			}
			select {
			case err := <-evicted:
				t.Errorf("Evict returned while the process was there: %v", err)
			default:
			}
			if !isOpen(t, m) || !running(t, pid) {
				t.Errorf("the connection is counted: %v; its process is there: %v", isOpen(t, m), running(t, pid))
			}
			thaw()
			must(t, <-evicted)
			countedUntilGone(t, m, pid)
		})
	}
}

// asks is how often the server was asked something over the system database.
func asks(t *testing.T, m *pools.Manager) uint64 {
	t.Helper()
	st, err := m.Stats(t.Context())
	must(t, err)
	return st.System.Counters.Acquires
}

// The server takes such a session for one that has nothing to do, and keeps it for
// hours.
func TestASessionThatIsWelcomedAndNotHeardOfAgainIsEnded(t *testing.T) {
	for name, end := range map[string]verdict{"reset": orphanAfter, "silent": loseIt} {
		t.Run(name, func(t *testing.T) {
			w := startWire(t, "127.0.0.1:0")
			m := openOver(t, w)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			w.update(func() {
				atTheTest := when([]byte("current_timestamp"), end)
				w.look = func(p *pair, to direction, data []byte) verdict {
					then := atTheTest(p, to, data)
					if then != passOn {
						stop() // Acquire's caller waits no longer
					}
					return then
				}
			})
			if conn, err := m.Acquire(ctx, workspace(0)); err == nil {
				conn.Release() // of a second dial, faster than the end of the context
			}
			// The system database's connection is none of a workspace.
			sessions := func() (n int) {
				must(t, control.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, database(0)).Scan(&n))
				return n
			}
			began := time.Now()
			if !eventually(2*mustBeBack+slack(), func() bool {
				_, err := m.Evict(t.Context(), workspace(0)) // what was dialed since
				must(t, err)
				return !isOpen(t, m)
			}) {
				t.Error("its slot is not free")
			}
			if n := sessions(); n != 0 {
				t.Errorf("the server has %d such sessions after %v", n, time.Since(began))
			}
		})
	}
}
