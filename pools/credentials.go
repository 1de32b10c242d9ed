package pools

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Credentials are what a connection logs in with. They print without the Password.
type Credentials struct {
	User     string // "": Config.User
	Password string `json:"-"`
	// Temporary: the Password is a token. The sessions that it opened outlive it, so
	// another token after it renews no connection; another User does.
	Temporary bool
}

// Format prints the Credentials without their password.
func (c Credentials) Format(f fmt.State, verb rune) {
	type plain Credentials // without this method
	if c.Password != "" {
		c.Password = "[hidden]"
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// WithCredentials has each dial ask for its credentials, in place of Config.Password and
// Config.PasswordFile: from a secret manager, or for a token that is good for minutes.
// ask is called from any number of goroutines, within Config.DialTimeout, which bounds the
// whole dial. A dial does not wait for one that outlasts its context, and what it returns
// then is lost.
//
// An error or a panic of ask fails that dial, and so does a server that refuses what ask
// returned. Neither is final: waiters go on waiting, and after a moment (at most a second)
// the next dial asks again. So the password may be changed in the server before ask knows.
//
// Once the server has taken another User, or another Password that is not Temporary, the
// connections of the former are renewed (see [Manager.RenewAll]): all at once, and at most
// once a minute.
func WithCredentials(ask func(ctx context.Context) (Credentials, error)) Option {
	return func(o *options) { o.credentials = ask }
}

// SetCredentials replaces the user and the password of the Manager's Config, and reads
// the files of the network's security (PGSSLROOTCERT, PGSSLCERT, PGSSLKEY) again. All
// connections opened from now on use them; if anything has changed, those that are idle
// are closed, and those that are lent when they come home. The user must have the same
// rights.
//
// First they are tried on one connection to the system database. If that fails, or a
// file cannot be read, nothing changes, and the error is one of Open's. It blocks until
// then, and until the idle ones are closed, at most until ctx is done: what is not closed
// by then is logged, and closes all the same. Before the server has answered (see
// WithLateServer) they are taken untried.
//
// With Config.PasswordFile or WithCredentials each dial asks for the password, so it must
// be empty here; what the file or the function says now is tried, and used, as above.
func (m *Manager) SetCredentials(ctx context.Context, user, password string) error {
	cfg := m.config
	if m.provider != nil && password != "" {
		return fmt.Errorf("set credentials: %w", errAsked)
	}
	cfg.User, cfg.Password = user, password
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	fresh, err := connConfig(cfg)
	if err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	if err := m.takeTurn(ctx); err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	defer m.endTurn()
	workspaces, system := &m.configs[workspaceShare], &m.configs[systemShare]
	before, taken := system.Load(), m.provider.inUse()
	system.logInAs(fresh)
	if !within(m.answered, 0) { // whoever meets the server tries them
		workspaces.logInAs(fresh)
		_, _ = m.supervisor.Renew(ctx, systemShare, managersOwn)
		return nil
	}
	if err := m.tryLogin(ctx); err != nil {
		system.logInAs(before)
		// The next question of the manager is not to wait for this failure's back-off.
		again, stop := afterwards(ctx)
		defer stop()
		_ = m.supervisor.Retry(again, systemShare, managersOwn)
		return fmt.Errorf("set credentials: system database: %w", err)
	}
	workspaces.logInAs(fresh)
	if sameLogin(before, fresh) && !m.provider.settle(taken) {
		return nil
	}
	if _, err := m.supervisor.RenewAll(ctx); err != nil {
		m.log.Warn("The credentials are changed, but connections of the old ones are still open", "error", err.Error())
	}
	return nil
}

var errAsked = errors.New("the password is asked for at each dial (DB_PASSWORD_FILE or WithCredentials): change it there, and set none")

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

// template is what a share's connections are made from. What it points to never changes:
// whoever changes something puts a copy in its place, so that no other's change is lost.
type template struct{ atomic.Pointer[pgx.ConnConfig] }

func (t *template) change(f func(*pgx.ConnConfig)) {
	for {
		before := t.Load()
		after := before.Copy()
		f(after)
		if t.CompareAndSwap(before, after) {
			return
		}
	}
}

// logInAs takes over all but how a session begins, of which more may be known by now.
func (t *template) logInAs(other *pgx.ConnConfig) {
	t.change(func(c *pgx.ConnConfig) {
		params := c.RuntimeParams
		*c = *other.Copy()
		c.RuntimeParams = params
	})
}

// sameLogin tells whether the two differ in nothing that SetCredentials reads.
func sameLogin(a, b *pgx.ConnConfig) bool {
	return a.User == b.User && a.Password == b.Password && sameTLS(a.TLSConfig, b.TLSConfig) &&
		slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(a, b *pgconn.FallbackConfig) bool { return sameTLS(a.TLSConfig, b.TLSConfig) })
}

// sameTLS compares what comes from files. A key goes with its certificate.
func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.RootCAs.Equal(b.RootCAs) && slices.EqualFunc(a.Certificates, b.Certificates, func(a, b tls.Certificate) bool {
		return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
	})
}
