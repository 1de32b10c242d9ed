package pools

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Pause lets new acquires of the workspace wait, and closes its connections as they
// come home, even after a Resume: for a restore or a migration that must be alone (see
// Exclusive). It blocks until the server has let go of the last one; closed is how many
// there were. If ctx is done first the workspace stays paused all the same, and the
// error wraps ctx.Err(). Resume ends the pause, however often it was asked for.
//
// The error is a *model.WorkspaceIDError for a bad id; it wraps model.ErrNoWorkspace if
// the server's catalogue has no such database (one that is paused already may be dropped
// and restored), model.ErrNotKnown if the server cannot be asked, and the workspace has
// no connection, no pause, and was not in use of late; model.ErrManyPauses if 10,000 others
// are paused; and model.ErrClosed after Close.
func (m *Manager) Pause(ctx context.Context, id model.WorkspaceID) (closed int, err error) {
	if err := m.known(ctx, id); err != nil {
		return 0, fmt.Errorf("pause: %w", err)
	}
	if m.supervisor.Pauses(workspaceShare) >= pausesAtMost && !m.supervisor.Paused(workspaceShare, id) {
		return 0, fmt.Errorf("pause workspace %q: %w (%d may be)", id, model.ErrManyPauses, pausesAtMost)
	}
	return m.supervisor.Pause(ctx, workspaceShare, id)
}

// pausesAtMost bounds what is remembered of pauses. The catalogue does not: a naming of
// one's own may have one database for all ids, and a paused workspace may be dropped.
// Pauses that begin at one moment may together be a few more.
const pausesAtMost = 10_000

// Resume ends a Pause; who waited is served again. It also forgets that dials of
// the workspace failed. Of a workspace that is not paused nothing else changes. The
// errors are those of Pause.
func (m *Manager) Resume(ctx context.Context, id model.WorkspaceID) error {
	if err := m.known(ctx, id); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	m.catalogue.changes.Add(1)
	m.resolver.forget(id)
	return m.supervisor.Resume(ctx, workspaceShare, id)
}

// Exclusive runs f with the only connection of the workspace: for a migration or
// whatever else must be alone. It closes the workspace's connections as Pause does,
// dials a new one, lends it to f, and closes it afterwards, also when f panics; the
// session may be left in any state. Meanwhile other acquires of the workspace wait,
// those of f included: f must use the Conn it is given. Several Exclusives of one
// workspace take turns. One that is paused is served too, and stays paused.
//
// Exclusive blocks until it has the connection, at most until ctx is done (there is
// no other bound), and then until f returns. The error is f's, or one of Acquire's,
// or wraps model.ErrInUse when ctx ended while leases of others were out.
func (m *Manager) Exclusive(ctx context.Context, id model.WorkspaceID, f func(*Conn) error) error {
	if err := m.valid(id); err != nil {
		return fmt.Errorf("exclusive: %w", err)
	}
	if err := m.admit(ctx, id, time.Now().Add(m.config.DialTimeout)); err != nil {
		return fmt.Errorf("exclusive: %w", err)
	}
	conn, err := m.tracing.acquired(ctx, id, func(ctx context.Context) (*Conn, error) {
		lease, err := m.supervisor.Acquire(ctx, workspaceShare, id, actor.Wait{Exclusive: true})
		if err != nil {
			m.noteLimit(id, err)
			return nil, err
		}
		conn := newConn(lease)
		fit, err := m.hooks.prepare(ctx, conn)
		switch {
		case err != nil:
			return nil, fmt.Errorf("workspace %q: %w", id, err)
		case !fit:
			return nil, fmt.Errorf("workspace %q: hook PrepareConn has sent the connection back", id)
		}
		return conn, nil
	})
	if err != nil {
		return fmt.Errorf("exclusive: %w", err)
	}
	defer conn.Release()
	return f(conn)
}

// Renew replaces the workspace's connections while its traffic goes on: after a
// migration, a change of the password or a failover. Idle ones close now, those that
// are lent when they are released, and those being dialed when their dial ends: an
// Acquire that begins after Renew has returned gets a connection dialed after the
// call. Renew blocks until the server has let go of the idle ones; closed is how many
// there were. It does not wait for leases. If ctx is done first, the renewal is in
// force all the same, and the error wraps ctx.Err().
//
// It also forgets that dials of the workspace failed. The errors are those of Pause.
func (m *Manager) Renew(ctx context.Context, id model.WorkspaceID) (closed int, err error) {
	if err := m.known(ctx, id); err != nil {
		return 0, fmt.Errorf("renew: %w", err)
	}
	m.types.forget(id)
	m.resolver.forget(id)
	return m.supervisor.Renew(ctx, workspaceShare, id)
}

// RenewAll is Renew for all workspaces and the system database.
func (m *Manager) RenewAll(ctx context.Context) (closed int, err error) {
	m.types.forget()
	m.resolver.forget()
	return m.supervisor.RenewAll(ctx)
}

// Events tells what happens from now on, through a channel with room for that
// many. Whoever does not keep up loses events, and is told how many by the next
// one; lending never waits for it. The channel is closed when ctx is done or the
// manager is closed. The error wraps ctx.Err(), or model.ErrClosed after Close.
func (m *Manager) Events(ctx context.Context, buffer int) (<-chan model.Event, error) {
	return m.supervisor.Events(ctx, buffer)
}

// SetLimits changes Config.MaxConnections and MaxConnectionsPerDB, with their
// ranges and the system database's share as at the start. It returns when they are
// in force, for all at one moment. What is idle beyond them is then being closed;
// connections that are lent stay until they are released, and nothing is dialed
// until there is room.
//
// With a shared budget maxConnections is the group's, which changes for all of its
// processes within a second, and maxConnectionsPerDB this process's. A budget that is too
// small for the processes that there are is refused with a *model.ConfigError.
//
// It returns how many connections the server grants the role, or 0 if the server did not
// say so, and warns in the log when that is less, as Open does. The error is a joined list
// of *model.ConfigError, and then nothing has changed; it wraps model.ErrClosed after
// Close.
func (m *Manager) SetLimits(ctx context.Context, maxConnections, maxConnectionsPerDB int) (granted int, err error) {
	cfg := m.config
	cfg.MaxConnections, cfg.MaxConnectionsPerDB = maxConnections, maxConnectionsPerDB
	if err := cfg.Validate(); err != nil {
		return 0, fmt.Errorf("set limits: %w", err)
	}
	if m.shared != nil {
		granted, err := m.shared.setLimits(ctx, cfg)
		if err != nil {
			return 0, fmt.Errorf("set limits: %w", err)
		}
		m.log.Info("Connection limits changed", aboutLimits(cfg)...)
		return granted, nil
	}
	if err := m.setOwnLimits(ctx, cfg, ""); err != nil {
		return 0, err
	}
	m.log.Info("Connection limits changed", aboutLimits(cfg)...)
	ctx, stop := context.WithTimeout(ctx, grantsAtMost)
	defer stop()
	conn, err := m.acquireOwn(ctx)
	if err == nil {
		granted, err = m.checkServer(ctx, conn, maxConnections)
		conn.Release()
	}
	if err != nil {
		m.log.Warn("The limits are changed, but the server did not say what it grants", "error", err.Error())
	}
	return granted, nil
}

// setOwnLimits sets those of a budget that is not shared.
func (m *Manager) setOwnLimits(ctx context.Context, cfg model.Config, why string) error {
	workspaces, system := cfg.WorkspaceLimits(), cfg.SystemLimits()
	return m.supervisor.SetLimits(ctx,
		core.SetLimits{Budget: workspaces.Budget, PerWorkspace: workspaces.PerWorkspace, Why: why},
		core.SetLimits{Budget: system.Budget, PerWorkspace: system.PerWorkspace, Why: why})
}

func aboutLimits(cfg model.Config) []any {
	about := []any{"max_connections", cfg.MaxConnections, "max_connections_per_db", cfg.MaxConnectionsPerDB}
	if cfg.SharedBudget != "" { // the group's budget and floor hold
		return append(about, "shared_budget", cfg.SharedBudget)
	}
	return append(about, "workspace_budget", cfg.WorkspaceBudget(), "system_share", cfg.SystemShare())
}

// grantsAtMost bounds asking the server about limits that are in force already.
const grantsAtMost = time.Second

// Ping makes a round trip to the server, over the system database. It blocks and
// fails as Acquire does.
func (m *Manager) Ping(ctx context.Context) error {
	err := m.System().Ping(ctx)
	m.unanswered.heard(err)
	return err
}
