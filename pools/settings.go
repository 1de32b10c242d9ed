package pools

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// WorkspaceSettings are what one workspace has in place of the Config's. Zero means: as the
// Config says.
type WorkspaceSettings struct {
	// MaxConnections is how many connections it may hold, SoftMaxConnections how many of
	// these it need not share (Config.SoftMaxConnectionsPerDB), and MaxWaiters how many of
	// its acquires may wait.
	MaxConnections, SoftMaxConnections, MaxWaiters int
	// AcquireTimeout bounds its acquires, but not those of batch work.
	AcquireTimeout time.Duration
}

// WithWorkspaceSettings asks of for a workspace's settings at each acquire that does not find
// the connection that the last holder has just left. What it says holds from then on: beyond
// a lower MaxConnections idle connections close at once, lent ones when they are released.
// It may be called from several goroutines at once, delays the acquire and should answer from
// memory; ctx ends after Config.DialTimeout. The acquire's error wraps an error of it.
func WithWorkspaceSettings(of func(ctx context.Context, id model.WorkspaceID) (WorkspaceSettings, error)) Option {
	return func(o *options) { o.settings = of }
}

// applySettings puts the workspace's settings into an acquire.
func (m *Manager) applySettings(ctx context.Context, id model.WorkspaceID, wait *actor.Wait) error {
	asking, stop := context.WithTimeout(ctx, m.config.DialTimeout)
	defer stop()
	own, err := m.settings(asking, id)
	if err == nil {
		err = own.validate()
	}
	if err != nil {
		return fmt.Errorf("acquire workspace %q: its settings: %w", id, err)
	}
	wait.Limits = model.WorkspaceLimits{Cap: int32(own.MaxConnections), SoftCap: int32(own.SoftMaxConnections), MaxWaiters: int32(own.MaxWaiters)}
	if own.AcquireTimeout > 0 && !wait.Batch {
		wait.NoWait, wait.AtMost = false, own.AcquireTimeout
	}
	return nil
}

func (s WorkspaceSettings) validate() error {
	number := func(name string, v int) error {
		if 0 <= v && v <= math.MaxInt32 {
			return nil
		}
		return fmt.Errorf("%s is %d: it must be from 0 (as the Config says) to %d", name, v, math.MaxInt32)
	}
	err := errors.Join(number("MaxConnections", s.MaxConnections), number("SoftMaxConnections", s.SoftMaxConnections), number("MaxWaiters", s.MaxWaiters))
	if s.AcquireTimeout < 0 {
		err = errors.Join(err, fmt.Errorf("AcquireTimeout is %v: it must be 0 (as the Config says) or more", s.AcquireTimeout))
	}
	return err
}
