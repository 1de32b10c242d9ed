package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// filler keeps the application's part of the system share open, as an
// application does that works with it. Without that the server would have a few
// connections to spare, and forgive the manager a slot that it uses too early.
type filler struct {
	end   context.CancelFunc
	ended chan struct{}
}

// fillEvery is shorter than the time after which an idle connection is closed.
const fillEvery = time.Minute

func startFiller(ctx context.Context, manager *pools.Manager, share int) (*filler, error) {
	if err := fill(ctx, manager, share); err != nil {
		return nil, err
	}
	running, end := context.WithCancel(context.Background())
	f := &filler{end: end, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		ticker := time.NewTicker(fillEvery)
		defer ticker.Stop()
		for {
			select {
			case <-running.Done():
				return
			case <-ticker.C:
				_ = fill(running, manager, share) // the next one may do better
			}
		}
	}()
	return f, nil
}

// fill borrows all of the share at once, and gives it back.
func fill(ctx context.Context, manager *pools.Manager, share int) error {
	for range share {
		conn, err := manager.System().Acquire(ctx)
		if err != nil {
			return fmt.Errorf("open the system database's share of %d connections: %w", share, err)
		}
		defer conn.Release()
	}
	return nil
}

func (f *filler) stop() {
	f.end()
	<-f.ended
}
