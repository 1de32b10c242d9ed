package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// provider asks for the credentials of each dial, and decides when another answer
// renews connections. A nil one is of a Manager whose credentials are in its template.
type provider struct {
	ask func(context.Context) (Credentials, error)
	// renew is called once the server has taken what connections are to be renewed for.
	// It does not block.
	renew func()
	// latest is the last answer: its keys are shared while it stays the same.
	latest atomic.Pointer[login]
	// taken is what the server has taken and connections were last renewed for.
	taken atomic.Pointer[taken]
}

// login is an answer, and how to log in with it. It never changes.
type login struct {
	Credentials
	frontend pgconn.BuildFrontendFunc
}

type taken struct {
	Credentials
	renewed time.Time
}

// renewAgain is the least time between two renewals: a function that makes a token for
// each dial, and does not say so, would close every connection after its first use. It is
// a variable for tests.
var renewAgain = time.Minute

// newProvider is nil if the Config says it all.
func newProvider(cfg model.Config, ask func(context.Context) (Credentials, error)) (*provider, error) {
	if ask == nil && cfg.PasswordFile != "" {
		ask = func(context.Context) (Credentials, error) {
			password, err := secret.FromFile(cfg.PasswordFile)
			return Credentials{Password: password}, err
		}
		// A file that is missing at the start is a mistake; later it may be between two
		// versions.
		if _, err := ask(context.Background()); err != nil {
			return nil, fmt.Errorf("DB_PASSWORD_FILE: %w", err)
		}
	}
	if ask == nil {
		return nil, nil
	}
	return &provider{ask: ask}, nil
}

// logIn puts the credentials of now into a dial's config, and returns them.
func (p *provider) logIn(ctx context.Context, config *pgx.ConnConfig) (*login, error) {
	if p == nil {
		return nil, nil
	}
	answer, err := p.answer(ctx)
	if err == nil && strings.ContainsRune(answer.User+answer.Password, 0) {
		err = errors.New("they hold a NUL byte, which none may have")
	}
	latest := p.latest.Load()
	if err != nil {
		secrets := []string{answer.Password}
		if latest != nil {
			secrets = append(secrets, latest.Password)
		}
		return nil, &credentialsError{err, printable(hide(err.Error(), secrets...))}
	}
	config.User, config.Password = cmp.Or(answer.User, config.User), answer.Password
	if latest != nil && latest.Password == config.Password && latest.User == config.User {
		config.BuildFrontend = latest.frontend
		return latest, nil
	}
	rememberKeys(config)
	answer.User = config.User
	now := &login{answer, config.BuildFrontend}
	p.latest.Store(now) // or another's answer of this moment
	return now, nil
}

// answer asks on a goroutine of its own: what the user's function does is not the dial's
// affair.
func (p *provider) answer(ctx context.Context) (Credentials, error) {
	var c Credentials
	returned := apart(func() (err error) {
		c, err = p.ask(ctx)
		return err
	})
	select {
	case err := <-returned:
		return c, err
	case <-ctx.Done():
		return Credentials{}, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// took is told of credentials that the server has taken.
func (p *provider) took(l *login) {
	if p == nil {
		return
	}
	before := p.taken.Load()
	switch {
	case before == nil:
		p.taken.CompareAndSwap(nil, &taken{Credentials: l.Credentials})
	case !before.outdatedBy(l), time.Since(before.renewed) < renewAgain:
	case p.taken.CompareAndSwap(before, &taken{l.Credentials, time.Now()}):
		p.renew()
	}
}

// outdatedBy tells whether connections of the one are to be renewed for the other.
func (t *taken) outdatedBy(l *login) bool {
	return t.User != l.User || t.Password != l.Password && !l.Temporary
}

// inUse is what settle is to compare with.
func (p *provider) inUse() *taken {
	if p == nil {
		return nil
	}
	return p.taken.Load()
}

// settle tells whether the latest answer outdates what was in use, and takes it for what
// connections are now renewed for.
func (p *provider) settle(before *taken) (outdated bool) {
	if p == nil {
		return false
	}
	latest := p.latest.Load()
	if before == nil || latest == nil || !before.outdatedBy(latest) {
		return false
	}
	p.taken.Store(&taken{latest.Credentials, time.Now()})
	return true
}

// renewOutdated replaces the connections of former credentials.
func (m *Manager) renewOutdated(ctx context.Context) {
	m.log.Info("The credentials have changed: their connections are renewed")
	if _, err := m.supervisor.RenewAll(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, model.ErrClosed) {
		m.log.Warn("Connections of the former credentials are still open", "error", err.Error())
	}
}

// credentialsError is why a dial has no credentials.
type credentialsError struct {
	err  error
	text string
}

func (e *credentialsError) Error() string { return "credentials: " + e.text }
func (e *credentialsError) Unwrap() error { return e.err }

// hide takes passwords out of a text.
func hide(text string, passwords ...string) string {
	for _, password := range passwords {
		if password != "" {
			text = strings.ReplaceAll(text, password, "[hidden]")
		}
	}
	return text
}
