package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// stubborn is a statement that catches every cancel, and goes on: the outer block
// catches what comes while the inner one begins again.
const stubborn = `DO $$ BEGIN LOOP
	BEGIN LOOP
		BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
	END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END;
END LOOP; END $$`

// whileItSleeps runs the stubborn statement and ends its context once it sleeps. It
// returns the statement's error, and how long that took to come.
func whileItSleeps(t *testing.T, watch *sql.DB, conn *pools.Conn) (took time.Duration, err error) {
	t.Helper()
	return cancelWhileItSleeps(t, watch, conn, stubborn)
}

func cancelWhileItSleeps(t *testing.T, watch *sql.DB, conn *pools.Conn, statement string) (took time.Duration, err error) {
	t.Helper()
	pid := conn.Conn().PgConn().PID()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, statement)
		ended <- err
	}()
	eventually(t, "it sleeps", func() bool {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'`, int(pid)) == 1
	})
	stop()
	began := time.Now()
	err = <-ended
	return time.Since(began), err
}

// A cancel request travels besides the query, so it may arrive before it, in its
// middle, as it ends, or after it.
func TestACancelNeverHitsTheNextQueryAndTheConnectionLivesOn(t *testing.T) {
	const workers, workspaces = 8, 4
	rounds := times(25, 100)
	pools.CancelPatiently(t)
	m := open(t, config(20))
	short := shortQueryTakes(t, m)
	var cancelled, inTime, closed atomic.Int64
	round := func() {
		id := workspaceID(rand.IntN(workspaces))
		conn, err := m.Acquire(t.Context(), id)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Release()
		ctx, stop := interruption(t.Context(), 2*short)
		defer stop()
		switch rand.IntN(4) {
		case 0: // one round trip, which ends about when the cancel comes
			_, err = conn.Exec(ctx, `SELECT pg_sleep(0.001)`)
		case 1: // with a parameter, in several
			_, err = conn.Exec(ctx, `SELECT pg_sleep($1)`, rand.Float64()/500)
		case 2: // while rows are sent
			err = readAll(ctx, conn, `SELECT pg_sleep(0.0001), generate_series(1, 100000000)`)
		case 3:
			_, err = conn.Exec(ctx, `SELECT pg_sleep(60)`)
		}
		switch {
		case err == nil:
			inTime.Add(1)
		case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
			cancelled.Add(1)
		default:
			t.Errorf("a cancelled query returned: %v", err)
		}
		if conn.Conn().IsClosed() {
			closed.Add(1)
			return
		}
		if _, err := conn.Exec(t.Context(), `SELECT pg_sleep(0.002)`); err != nil {
			t.Errorf("the query after a cancelled one: %v", err)
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				round()
			}
		})
	}
	wg.Wait()
	dials := stats(t, m).Workspaces.Counters.Dials
	t.Logf("%d queries cancelled, %d were done before; %d dials, %d connections were closed",
		cancelled.Load(), inTime.Load(), dials, closed.Load())
	if int(cancelled.Load()) < workers*rounds/4 || inTime.Load() == 0 {
		t.Error("this test shows nothing")
	}
	// Only the first connections of the workspaces, and a few whose request got lost.
	if most := workspaces*3 + workers*rounds/50; int(dials) > most {
		t.Errorf("%d dials, at most %d were expected: cancelled connections are lost", dials, most)
	}
	fillBudget(t, m, 10)
}

// shortQueryTakes measures the shortest query of the test above, here and now.
func shortQueryTakes(t *testing.T, m *manager) time.Duration {
	t.Helper()
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const times = 5
	for range times {
		if _, err := m.Workspace("w0").Exec(t.Context(), `SELECT pg_sleep(0.001)`); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(began) / times
}

// interruption ends at any moment until then, in either way.
func interruption(ctx context.Context, latest time.Duration) (context.Context, context.CancelFunc) {
	after := rand.N(latest)
	if rand.IntN(2) == 0 {
		return context.WithTimeout(ctx, after)
	}
	ctx, stop := context.WithCancel(ctx)
	time.AfterFunc(after, stop)
	return ctx, stop
}

func readAll(ctx context.Context, conn *pools.Conn, query string) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// A cancel that overtakes its query is lost. This statement does with the first
// two as the server does with those.
func TestACancelIsRepeatedUntilTheQueryStops(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err = conn.Exec(ctx, `DO $$ BEGIN
		FOR i IN 1..2 LOOP
			BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
		PERFORM pg_sleep(60);
	END $$`)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the connection did not survive: %v", err)
	}
}

// The caller is not held longer than its context and half a second.
func TestAQueryThatDoesNotStopLosesItsConnection(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	pid := int(conn.Conn().PgConn().PID())
	took, err := whileItSleeps(t, watch, conn)
	if !errors.Is(err, context.Canceled) || took > time.Second+10*dialsTake(t) {
		t.Errorf("after %v: %v", took, err)
	}
	if !conn.Conn().IsClosed() {
		t.Error("the connection is still open")
	}
	conn.Release()
	if n := backendCount(t, watch, pid); n != 1 || stats(t, m).Workspaces.Open() != 1 {
		t.Errorf("the server has %d such backends; %+v", n, stats(t, m).Workspaces.Counts)
	}
	began := time.Now()
	eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Open() == 0 })
	t.Logf("Exec took %v, its slot was free %v after the release", took, time.Since(began))
	if n := backendCount(t, watch, pid); n != 0 {
		t.Error("the slot was freed before the backend was gone")
	}
	fillBudget(t, m, 10)
}
