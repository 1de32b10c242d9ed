package pools

import (
	"context"
	"fmt"
)

// SetCredentials replaces the user and the password of the Manager's Config, and reads
// the files of the network's security (PGSSLROOTCERT, PGSSLCERT, PGSSLKEY) again. All
// connections opened from now on use them; those that are idle are closed, and those
// that are lent when they come home. The user must have the same rights.
//
// First they are tried on one connection to the system database. If that fails, or a
// file cannot be read, nothing changes, and the error is one of Open's. It blocks until
// then, at most until ctx is done. Before the server has answered (see WithLateServer)
// they are taken untried. One call at a time may be under way.
func (m *Manager) SetCredentials(ctx context.Context, user, password string) error {
	cfg := m.config
	cfg.User, cfg.Password = user, password
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	fresh, err := connConfig(cfg)
	if err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	m.identity.introduce(fresh)
	if m.configs[workspaceShare].Load().RuntimeParams[checkInterval] != "" {
		fresh = withCheckInterval(fresh)
	}
	if !within(m.answered, 0) { // whoever waits for the server tries them
		m.configs[systemShare].Store(fresh)
		m.configs[workspaceShare].Store(fresh)
		return nil
	}
	system := &m.configs[systemShare]
	before := system.Swap(fresh)
	if err := m.tryLogin(ctx); err != nil {
		system.Store(before)
		// The next question of the manager is not to wait for this failure's back-off.
		again, stop := afterwards(ctx)
		defer stop()
		_ = m.supervisor.Retry(again, systemShare, managersOwn)
		return fmt.Errorf("set credentials: system database: %w", err)
	}
	m.configs[workspaceShare].Store(fresh)
	if _, err := m.supervisor.RenewAll(ctx); err != nil {
		return fmt.Errorf("set credentials: they are in use, but %w", err)
	}
	return nil
}

// tryLogin opens a connection of the manager's own.
func (m *Manager) tryLogin(ctx context.Context) error {
	if _, err := m.supervisor.Renew(ctx, systemShare, managersOwn); err != nil {
		return err
	}
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return err
	}
	conn.Release()
	return nil
}
