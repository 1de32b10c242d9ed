// Package pgxlisten listens in a workspace with pgxlisten.
package pgxlisten

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgxlisten"

	"github.com/tenantpool/tenantpool/pools"
)

// Listen gives the notifications on a channel of the workspace to handle, until ctx is
// done; it returns ctx.Err(). When the connection is lost, it listens on another one
// after the delay.
//
// It holds one connection all the time, and with it a slot of the budget: for a channel
// in each of many workspaces, let the workspaces notify one channel of the system
// database, or poll.
func Listen(ctx context.Context, workspace *pools.Workspace, channel string, delay time.Duration, handle pgxlisten.HandlerFunc) error {
	var conn *pools.Conn
	listener := pgxlisten.Listener{
		ReconnectDelay: delay,
		Connect: func(ctx context.Context) (_ *pgx.Conn, err error) {
			if conn, err = workspace.Acquire(ctx); err != nil {
				return nil, err
			}
			return conn.Conn(), nil
		},
		// pgxlisten closes the connection when it is done with it, and then says why.
		// Release frees the slot.
		LogError: func(_ context.Context, err error) { // a place to log it
			if conn != nil && conn.Conn().IsClosed() {
				conn.Release()
				conn = nil
			}
		},
	}
	listener.Handle(channel, handle)
	return listener.Listen(ctx)
}
