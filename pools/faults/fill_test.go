package faults

import (
	"context"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// filled is the whole budget, lent at once.
type filled struct {
	lease, wrong int
	// took is how long that was after the given moment.
	took time.Duration
	// why are the causes of acquires that failed on the way there.
	why map[cause]int
}

// fillTime is how long filling is tried.
func fillTime() time.Duration { return 15*time.Second + slack() }

// lendable is how many connections can be lent at once. One more is the manager's own.
func lendable() int {
	cfg := config()
	return cfg.WorkspaceBudget() + cfg.SystemLimits().PerWorkspace
}

// fill lends the whole budget at once, that of the system database too, each
// connection to somebody who asks it whose it is. Who fails tries again. The
// server is asked meanwhile how many backends that are.
func fill(m *pools.Manager, since time.Time, look func()) filled {
	ctx, stop := context.WithTimeout(context.Background(), fillTime())
	defer stop()
	cfg := config()
	f := filled{why: map[cause]int{}}
	var lock sync.Mutex
	var wg, all sync.WaitGroup
	give := make(chan struct{})
	hold := func(take func() (*pools.Conn, error)) {
		all.Add(1)
		wg.Go(func() {
			arrived := sync.OnceFunc(all.Done)
			defer arrived()
			for ctx.Err() == nil {
				conn, err := take()
				lock.Lock()
				switch {
				case err == nil:
					f.lease++
				case causeOf(err) == wrongAnswer:
					f.wrong++
				default:
					f.why[causeOf(err)]++
				}
				lock.Unlock()
				if err == nil {
					arrived()
					<-give
					conn.Release()
					return
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	for n := range cfg.WorkspaceBudget() {
		i := (victim + n/2) % workspaces // two of each, for the victim too
		hold(func() (*pools.Conn, error) {
			// A request's time: on a connection whose network is silent nothing else ends it.
			ctx, stop := context.WithTimeout(ctx, requestTime)
			defer stop()
			return checked(ctx, m, i)
		})
	}
	for range cfg.SystemLimits().PerWorkspace {
		hold(func() (*pools.Conn, error) { return m.System().Acquire(ctx) })
	}
	all.Wait()
	f.took = time.Since(since)
	look()
	close(give)
	wg.Wait()
	return f
}

// checked lends a connection that has said whose it is.
func checked(ctx context.Context, m *pools.Manager, i int) (*pools.Conn, error) {
	conn, err := m.Acquire(ctx, workspace(i))
	if err != nil {
		return nil, err
	}
	if err := ask(ctx, conn, i); err != nil {
		conn.Release()
		return nil, err
	}
	return conn, nil
}

// answeredOnce tells whether every acquire that the statistics know of came to an
// end, and nothing is lent or waits.
func answeredOnce(b model.BudgetStats) bool {
	return b.Counters.Acquires == b.Counters.Grants()+b.Counters.Rejects && b.Waiting == 0 && b.InUse == 0
}
