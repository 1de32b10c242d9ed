package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// dialing are the numbers of dials at once that are tried.
var dialing = []int{1, 2, 4, 8}

// dialCapacity is how many times a second this machine and the server can
// connect, run one query and close: the most of the concurrencies tried.
func dialCapacity(ctx context.Context, s *setting, w workload) (best float64, err error) {
	length := min(s.options.For/6, time.Second)
	for _, n := range dialing {
		perSecond, err := dials(ctx, s, w.workspaces(s), n, length)
		if err != nil {
			return 0, err
		}
		best = max(best, perSecond)
	}
	return best, nil
}

func dials(ctx context.Context, s *setting, workspaces, atOnce int, length time.Duration) (perSecond float64, err error) {
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	running, stop := context.WithDeadline(ctx, began.Add(length))
	defer stop()
	failed := make(chan error, atOnce)
	for range atOnce {
		all.Go(func() {
			for running.Err() == nil {
				if err := dial(context.WithoutCancel(ctx), s, rand.IntN(workspaces)); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return float64(done.Load()) / time.Since(began).Seconds(), context.Cause(ctx)
}

func dial(ctx context.Context, s *setting, workspace int) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	conn, err := pgx.ConnectConfig(ctx, s.loginTo(workspace))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, s.options.Query)
	hangUp(conn)
	return err
}
