package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// must is for what the test itself does to the server.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func admin(t *testing.T, statement string, args ...any) {
	t.Helper()
	_, err := control.Exec(statement, args...)
	must(t, err)
}

func shutdown(mode localpg.Mode) func(*testing.T) {
	return func(t *testing.T) { must(t, server.Shutdown(context.Background(), mode)) }
}

func resume(t *testing.T)  { comeBack(t, server.Resume) }
func promote(t *testing.T) { comeBack(t, server.Promote) }

func comeBack(t *testing.T, start func(context.Context) error) {
	must(t, start(context.Background()))
	_, _ = control.Exec(``) // finds out that its session is a dead one
}

// What a request may see of a server that goes away: its farewell, or silence.
var gone = []cause{refused, broken, "57P01", "57P02", "57P03"}

func TestNothingGoesWrong(t *testing.T) { fault{name: "none, to compare with"}.run(t) }

func TestTheServerGoesAwayAndComesBack(t *testing.T) {
	fault{name: "server killed (SIGKILL), started again", begin: shutdown(localpg.Kill), heal: resume, shows: gone}.run(t)
	fault{name: "server restarted, fast", variant: true, begin: shutdown(localpg.Fast), heal: resume, shows: gone}.run(t)
	fault{name: "server restarted, immediate", variant: true, begin: shutdown(localpg.Immediate), heal: resume, shows: gone}.run(t)
	fault{
		name: "server in recovery, takes no logins (57P03)",
		begin: func(t *testing.T) {
			shutdown(localpg.Fast)(t)
			must(t, server.ResumeInRecovery(context.Background()))
		},
		heal:  promote,
		shows: []cause{"57P03"},
	}.run(t)
}

// signalAll is for all of the server's processes at about the same time.
func signalAll(t *testing.T, signal syscall.Signal) {
	pids, err := server.Processes()
	must(t, err)
	for _, pid := range pids {
		_ = syscall.Kill(pid, signal) // it may have ended meanwhile
	}
}

func TestTheServerFreezes(t *testing.T) {
	fault{
		name:  "server frozen (SIGSTOP)",
		begin: func(t *testing.T) { signalAll(t, syscall.SIGSTOP) },
		heal:  func(t *testing.T) { signalAll(t, syscall.SIGCONT) },
		shows: []cause{timedOut, whileDialing},
	}.run(t)
}

func TestSessionsAreTerminated(t *testing.T) {
	terminated := 0 // that no request fails shows nothing: it may have been an idle one
	fault{
		name: "a random session terminated, ten times a second",
		during: func(ctx context.Context, t *testing.T) {
			for terminated < 5 || ctx.Err() == nil {
				within(ctx.Done(), 100*time.Millisecond)
				admin(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 ORDER BY random() LIMIT 1`, server.User)
				terminated++
			}
		},
	}.run(t)
}

// setMaxConnections restarts the server so that we may have that many.
func setMaxConnections(n int) func(*testing.T) {
	return func(t *testing.T) {
		admin(t, fmt.Sprintf(`ALTER SYSTEM SET max_connections = %d`, n+ofTheTest+superuserReserved))
		shutdown(localpg.Fast)(t)
		resume(t)
	}
}

func TestTheServerGrantsLessThanTheBudget(t *testing.T) {
	fault{
		name:  "server's max_connections lower than the budget",
		begin: setMaxConnections(connections / 2), heal: setMaxConnections(connections),
	}.run(t)

	var others others
	fault{
		name: "other clients take half of the connections", variant: true,
		begin: func(t *testing.T) { others.take(t, connections/2) }, heal: func(*testing.T) { others.give() },
	}.run(t)
}

// others are clients of another role.
type others struct {
	wg  sync.WaitGroup
	end context.CancelFunc
}

// take returns when they have that many connections.
func (o *others) take(t *testing.T, n int) {
	const role = "somebody_else"
	_, _ = control.Exec(`CREATE ROLE ` + role + ` LOGIN`)
	password := fmt.Sprintf("other-%d", rand.Int64())
	admin(t, fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s'`, role, password))
	dsn := fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=postgres sslmode=disable", server.Host, server.Port, role, password)
	ctx, end := context.WithCancel(context.Background())
	o.end = end
	var in sync.WaitGroup
	in.Add(n)
	for range n {
		o.wg.Go(func() {
			for ctx.Err() == nil {
				conn, err := pgx.Connect(ctx, dsn)
				if err != nil { // no room yet
					within(ctx.Done(), time.Millisecond)
					continue
				}
				in.Done()
				<-ctx.Done()
				_ = conn.Close(context.Background())
			}
		})
	}
	in.Wait()
}

func (o *others) give() {
	o.end()
	o.wg.Wait()
}
