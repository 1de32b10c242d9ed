// Package pgxlisten listens in a workspace with pgxlisten.
package pgxlisten

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgxlisten"

	"github.com/tenantpool/tenantpool/pools"
)

// Listen hands the workspace's notifications on the channel to handle, until ctx is done
// or the handler is: it returns ctx.Err(). When the connection is lost, it listens on
// another one after the delay.
//
// It holds one connection all the time, and with it a slot of the budget: for a channel
// in each of many workspaces, let the workspaces notify one channel of the system
// database, or poll.
func Listen(ctx context.Context, workspace *pools.Workspace, channel string, delay time.Duration, handle pgxlisten.HandlerFunc) error {
	var conn *pools.Conn
	// pgxlisten closes the *pgx.Conn that it was given; Release then frees the slot.
	release := func() {
		if conn != nil {
			conn.Release()
			conn = nil
		}
	}
	defer release()
	listener := pgxlisten.Listener{
		ReconnectDelay: delay,
		Connect: func(ctx context.Context) (_ *pgx.Conn, err error) {
			if conn, err = workspace.Acquire(ctx); err != nil {
				return nil, err
			}
			return conn.Conn(), nil
		},
		LogError: func(context.Context, error) { // a place to log
			if conn != nil && conn.Conn().IsClosed() {
				release()
			}
		},
	}
	listener.Handle(channel, handle)
	return listener.Listen(ctx)
}
