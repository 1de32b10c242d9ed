package pools

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// WorkspaceSettings are what one workspace has in place of the Config's.
type WorkspaceSettings = model.WorkspaceSettings

// WithWorkspaceSettings asks of for a workspace's settings at each dial, and at each acquire
// that does not find the connection that the last holder has just left. What it says holds
// from then on: beyond a lower MaxConnections idle connections close at once, lent ones when
// they are released; and so do all that were dialed with another Role or StatementTimeout, of
// which none is lent again then. Where a connection passes from holder to holder, a change
// is noticed about once a second, or later if the connection is in use at that moment.
//
// It may be called from several goroutines at once, delays the acquire and should answer from
// memory; ctx ends after Config.DialTimeout. The acquire's error wraps an error of it.
// [WithSettingsTable] reads a table instead: only one of them may be set.
func WithWorkspaceSettings(of func(ctx context.Context, id model.WorkspaceID) (WorkspaceSettings, error)) Option {
	return func(o *options) { o.settings = of }
}

// newSettings makes what says a workspace's settings: nothing if the options don't.
func (m *Manager) newSettings(o options) error {
	name := o.settingsTable
	if name == "" {
		name = m.config.SettingsTable
	}
	switch {
	case name != "" && o.settings != nil:
		return errors.New("WithWorkspaceSettings and a table of settings (WithSettingsTable or DB_SETTINGS_TABLE) are both given: use one of them")
	case name == "":
		m.settings = o.settings
		return nil
	}
	of, err := newTable(m, "WithSettingsTable or DB_SETTINGS_TABLE", name)
	if err != nil {
		return err
	}
	m.settingsTable = newSettingsTable(of)
	m.settings = m.settingsTable.of
	return nil
}

// settingsOf asks for a workspace's settings; there are such.
func (m *Manager) settingsOf(ctx context.Context, id model.WorkspaceID) (own WorkspaceSettings, err error) {
	ctx, stop := context.WithTimeout(ctx, m.config.DialTimeout)
	defer stop()
	if own, err = m.settings(ctx, id); err == nil {
		err = own.Validate()
	}
	if err != nil {
		return WorkspaceSettings{}, fmt.Errorf("its settings: %w", err)
	}
	return own, nil
}

func limitsOf(own WorkspaceSettings) model.WorkspaceLimits {
	return model.WorkspaceLimits{Cap: int32(own.MaxConnections), SoftCap: int32(own.SoftMaxConnections), MaxWaiters: int32(own.MaxWaiters)}
}

// applySettings puts the workspace's settings into an acquire.
func (m *Manager) applySettings(ctx context.Context, id model.WorkspaceID, wait *actor.Wait) (opening, error) {
	own, err := m.settingsOf(ctx, id)
	if err != nil {
		return opening{}, fmt.Errorf("acquire workspace %q: %w", id, err)
	}
	wait.Limits = limitsOf(own)
	if own.AcquireTimeout > 0 && !wait.Batch {
		wait.NoWait, wait.AtMost = false, own.AcquireTimeout
	}
	return openingOf(own), nil
}

// opening is how a session begins by its workspace's settings. RESET ALL and RESET ROLE go
// back to it, since it is in the start-up message.
type opening struct {
	role             string
	statementTimeout time.Duration
}

func openingOf(own WorkspaceSettings) opening { return opening{own.Role, own.StatementTimeout} }

func (s opening) put(config *pgx.ConnConfig) {
	if s.role != "" {
		config.RuntimeParams["role"] = s.role
	}
	if s.statementTimeout > 0 {
		config.RuntimeParams["statement_timeout"] = strconv.FormatInt(s.statementTimeout.Milliseconds(), 10)
	}
}

// openingAsk is what the settings say of a session that is about to be dialed.
func (d *dialer) openingAsk(ctx context.Context, id model.WorkspaceID) (s opening, err error) {
	if d.settingsOf == nil {
		return opening{}, nil
	}
	err = <-apart(func() error {
		own, err := d.settingsOf(ctx, id)
		s = openingOf(own)
		return err
	})
	return s, err
}

// begunAs tells whether the connection's session began as it should: as wanted, or as the
// settings say by now, since it may be younger than the question. One that did not is
// closed, and with it all that the workspace has; with an error it goes back as it is.
func (m *Manager) begunAs(ctx context.Context, conn *Conn, wanted opening) (bool, error) {
	b := conn.backend
	if b.opening == wanted {
		return true, nil
	}
	own, err := m.settingsOf(ctx, b.workspace)
	switch {
	case err != nil:
		conn.Release()
		return false, fmt.Errorf("acquire workspace %q: %w", b.workspace, err)
	case b.opening == openingOf(own):
		return true, nil
	}
	m.renewSoon(b.workspace)
	conn.release(core.Unclean)
	return false, nil
}

// renewSoon has a renewal in force for every acquire that begins afterwards, and does not
// wait for it to end.
func (m *Manager) renewSoon(id model.WorkspaceID) {
	over, stop := context.WithCancel(context.Background())
	stop()
	_, _ = m.supervisor.Renew(over, workspaceShare, id)
}

// WorkspaceSettings are the workspace's settings that are in force in this process: its row
// of the table, or what the callback says. They are zero without either. It blocks for the
// callback only, whose error it wraps; it is a *model.WorkspaceIDError for a bad id.
func (m *Manager) WorkspaceSettings(ctx context.Context, id model.WorkspaceID) (WorkspaceSettings, error) {
	if err := m.valid(id); err != nil {
		return WorkspaceSettings{}, fmt.Errorf("settings: %w", err)
	}
	if m.settings == nil {
		return WorkspaceSettings{}, nil
	}
	own, err := m.settingsOf(ctx, id)
	if err != nil {
		return WorkspaceSettings{}, fmt.Errorf("workspace %q: %w", id, err)
	}
	return own, nil
}
