package pools

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// sentBackAtMost bounds how many connections PrepareConn sends back in one acquire.
const sentBackAtMost = 20

// lender lends a connection, as the manager itself uses it. since is when the acquire began
// that was lent others before this one, which were sent back; zero if there were none.
type lender func(ctx context.Context, id model.WorkspaceID, since time.Time) (*Conn, error)

// handOut lends a connection that its user may do with as he likes.
func (m *Manager) handOut(ctx context.Context, id model.WorkspaceID, lend lender) (*Conn, error) {
	var began, since time.Time
	if m.hooks.PrepareConn != nil || m.hooks.AfterConnect != nil { // which may send back
		began = time.Now()
	}
	for tries := 1; ; tries++ {
		conn, err := lend(ctx, id, since)
		if err != nil {
			return nil, err
		}
		fit, err := m.hooks.prepare(ctx, conn)
		if fit {
			return conn, nil
		}
		if err == nil && tries == sentBackAtMost {
			err = fmt.Errorf("hook PrepareConn has sent back %d connections, one after the other", tries)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("acquire workspace %q: %w", id, err)
		}
		since = began
	}
}

// lendAsTheyAre tells whether no hook has a say in lending and in taking back.
func (h *hooks) lendAsTheyAre() bool {
	return h.AfterConnect == nil && h.PrepareConn == nil && h.AfterRelease == nil && h.ShouldPing == nil
}

// prepare tells whether the connection may go to a user. One that may not is given back,
// and if there is no error another one may be tried.
func (h *hooks) prepare(ctx context.Context, conn *Conn) (fit bool, err error) {
	b := conn.backend
	b.dirty = true
	if !h.restored(ctx, b) {
		conn.giveUp() // the dial of another will say what is wrong
		return false, nil
	}
	if h.AfterRelease != nil {
		defer func() {
			if fit {
				conn.end().hooks = h
			}
		}()
	}
	if h.PrepareConn == nil {
		return true, nil
	}
	answers := make(chan bool, 1)
	err = h.call(ctx, b, "PrepareConn", func(ctx context.Context) error {
		fit, err := h.PrepareConn(ctx, b.workspace, b.pgx)
		answers <- fit
		return err
	})
	select {
	case fit = <-answers:
	default: // it panicked, or runs on
	}
	switch {
	case b.overrun != nil || !fit:
		conn.giveUp()
	case err != nil:
		conn.release(b.health())
	case b.health() == core.Clean:
		return true, nil
	default:
		conn.giveUp()
	}
	return false, err
}

// shouldPing tells whether the connection that was just lent is to be tested.
func (m *Manager) shouldPing(ctx context.Context, conn *Conn) bool {
	h, b := m.hooks, conn.backend
	if h.ShouldPing == nil || b.managersOwn {
		return conn.lease.Verify()
	}
	answers, params := make(chan bool, 1), ShouldPingParams{b.pgx, conn.lease.Idle(), b.workspace}
	err := h.call(ctx, b, "ShouldPing", func(ctx context.Context) error {
		answers <- h.ShouldPing(ctx, params)
		return nil
	})
	return err != nil || <-answers
}

// afterRelease gives the connection back when the hook has had it.
func (h *hooks) afterRelease(c *Conn) {
	b, answers := c.backend, make(chan bool, 1)
	err := h.call(context.Background(), b, "AfterRelease", func(context.Context) error {
		answers <- h.AfterRelease(b.workspace, b.pgx)
		return nil
	})
	switch {
	case err != nil:
		h.warn(b, err)
		c.giveUp()
	case <-answers:
		c.release(b.health())
	default:
		c.giveUp()
	}
}
