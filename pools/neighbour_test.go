package pools_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// A workspace whose 50 handlers hammer it, its cap being 3, must not make the
// others wait longer than Patience, an eviction and a dial explain. The figures
// are for the reader, with what a dial takes at that moment; the bound is one
// that a slow machine keeps and a queue behind the neighbour's does not.
func TestANoisyNeighbourDoesNotDelayTheQuietOnes(t *testing.T) {
	const (
		handlers = 50
		every    = 20 * time.Millisecond
		bound    = 500 * time.Millisecond
	)
	lasts := time.Second
	if long {
		lasts = 5 * time.Second
	}
	for name, quiet := range map[string]int{
		"a budget where all fit": 10, // and 3 of the neighbour's, of 15
		"a budget that is full":  14,
	} {
		t.Run(name, func(t *testing.T) {
			grant(t, 20)
			m := open(t, config(20))
			quietOnes := func(lasts time.Duration) []time.Duration {
				ctx, stop := context.WithTimeout(t.Context(), lasts)
				defer stop()
				waits := make([][]time.Duration, quiet)
				var wg sync.WaitGroup
				for i := range quiet {
					wg.Go(func() { waits[i] = visit(ctx, t, m, workspaceID(i), every) })
				}
				wg.Wait()
				all := slices.Concat(waits...)
				slices.Sort(all)
				return all
			}
			alone := quietOnes(lasts / 4) // for the reader

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var neighbour sync.WaitGroup
			served := make([]int, handlers)
			for i := range handlers {
				neighbour.Go(func() { served[i] = len(visit(ctx, t, m, "w99", 0)) })
			}
			dials := make(chan []time.Duration)
			go func() { dials <- timeDials(ctx, t) }()
			beside := quietOnes(lasts)
			st := stats(t, m).Workspaces
			stop()
			neighbour.Wait()
			dialing := <-dials

			for phase, waits := range map[string][]time.Duration{"alone": alone, "with the neighbour": beside} {
				t.Logf("%2d quiet workspaces %-19s %5d requests, acquire p50 %8v p99 %8v max %8v", quiet, phase+":",
					len(waits), percentile(waits, 50), percentile(waits, 99), waits[len(waits)-1].Round(time.Microsecond))
			}
			t.Logf("at the same time a dial took p50 %v, p99 %v", percentile(dialing, 50), percentile(dialing, 99))
			requests := 0
			for _, n := range served {
				requests += n
			}
			t.Logf("the neighbour was served %d times; %d evictions", requests, st.Counters.Evictions())
			if p99 := percentile(beside, 99); p99 > bound+2*percentile(dialing, 99) {
				t.Errorf("p99 is %v with the neighbour, %v without", p99, percentile(alone, 99))
			}
			// Where the budget is full each request may need a dial.
			if want := quiet * int(lasts/(every+percentile(dialing, 50))) / 4; len(beside) < want {
				t.Errorf("%d requests of the quiet ones were served, of the %d that they had to send", len(beside), 4*want)
			}
			if requests < handlers {
				t.Errorf("the neighbour was served %d times: it starves, or is not noisy", requests)
			}
			for _, w := range st.Active {
				if w.ID == "w99" && w.Open() > 3 {
					t.Errorf("the neighbour holds %d connections, its cap is 3", w.Open())
				}
			}
			if st.Counters.ServerRefusals != 0 {
				t.Errorf("%d refusals by the server", st.Counters.ServerRefusals)
			}
		})
	}
}

// visit makes requests, one every so often, until ctx is done, and returns how
// long each waited for its connection.
func visit(ctx context.Context, t *testing.T, m *manager, id model.WorkspaceID, every time.Duration) (waits []time.Duration) {
	for next := time.Now(); ctx.Err() == nil; next = next.Add(every) {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return waits
		}
		began := time.Now()
		conn, err := m.Acquire(t.Context(), id)
		if err != nil {
			t.Errorf("workspace %s: %v", id, err)
			return waits
		}
		waits = append(waits, time.Since(began))
		if _, err := conn.Exec(t.Context(), `SELECT 1`); err != nil {
			t.Errorf("workspace %s: %v", id, err)
		}
		conn.Release()
	}
	return waits
}

// timeDials opens a connection now and then until ctx is done, besides the
// manager, and returns how long each took.
func timeDials(ctx context.Context, t *testing.T) (took []time.Duration) {
	for ctx.Err() == nil {
		began := time.Now()
		conn, err := pgx.Connect(context.Background(), server.SuperuserDSN())
		if err != nil {
			t.Error(err)
			break
		}
		took = append(took, time.Since(began))
		_ = conn.Close(context.Background())
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	slices.Sort(took)
	return took
}

// percentile takes sorted durations.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(time.Microsecond)
}
