package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools/internal/reset"
)

// Hooks are functions of the program that configure connections, with the names and the
// meaning that pgxpool.Config has for them. They are told whose connection it is; the id
// is "" for the system database.
//
// A hook runs on a goroutine of its own, while its connection holds its slot, and has
// Timeout for it. One that has not returned a second after that is not waited for: what
// it was for fails, the connection is closed under it, and the slot stays taken until the
// hook has returned and the server has let go. A hook that panics has failed; the stack
// is logged. Neither its error nor its panic may contain a password; that of the
// connection is taken out.
//
// A connection whose session was reset, as [Manager.Query] does, has AfterConnect once more
// before it is used again.
//
// The connection that the Manager keeps to the system database for its own questions has
// BeforeConnect only.
type Hooks struct {
	// BeforeConnect may change how a connection is opened: the tracer, RuntimeParams,
	// the exec mode and the capacity of the statement caches, User and Password, TLSConfig
	// and Fallbacks, DialFunc and LookupFunc, OnNotice, OnNotification, OnPgError,
	// ValidateConnect and pgconn's AfterConnect. The config is a copy, and its own.
	//
	// Another Database, Host or Port is an error that stays: tenants would be mixed up, or
	// slots counted that another server has. What else the manager needs for itself it
	// sets afterwards: BuildFrontend, BuildContextWatcherHandler, the client_encoding, and
	// the application_name if there is a [WithInstance]. Its own DialFunc calls the hook's,
	// also for cancel requests, and expects connections to the server of Host and Port;
	// its OnPgError and ValidateConnect are called before the hook's.
	//
	// A changed Password costs the computation of its scram-sha-256 keys at each dial.
	BeforeConnect func(ctx context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error

	// AfterConnect prepares a new connection: its session's settings, the types it knows.
	// The dial ends with it.
	AfterConnect func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error

	// PrepareConn is asked before a connection is lent. With true and no error it is lent;
	// with true and an error it stays open, and the acquire fails with the error; with
	// false and an error it is closed, and the acquire fails; with false and no error it is
	// closed, and another one is tried, up to 20 in a row and within the acquire's time.
	PrepareConn func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) (bool, error)

	// AfterRelease is asked after a user's Release of a connection that may be lent again,
	// which does not wait for it. With false it is closed. Meanwhile it counts as lent.
	AfterRelease func(id model.WorkspaceID, conn *pgx.Conn) bool

	// BeforeClose is called before a connection is closed, also one that is broken, but
	// not if another hook still has it, or it was hijacked, or its AfterConnect failed.
	BeforeClose func(id model.WorkspaceID, conn *pgx.Conn)

	// ShouldPing decides whether a connection is tested with a query before it is lent, in
	// the place of Config.HealthCheckAfter.
	ShouldPing func(ctx context.Context, params ShouldPingParams) bool
	// PingTimeout bounds that test; 0 is Config.DialTimeout.
	PingTimeout time.Duration

	// Timeout bounds each hook; 0 is Config.DialTimeout.
	Timeout time.Duration
}

// ShouldPingParams are what ShouldPing is told.
type ShouldPingParams struct {
	Conn         *pgx.Conn
	IdleDuration time.Duration // since its last lease or its dial
	Workspace    model.WorkspaceID
}

// WithHooks sets the Manager's hooks. A dial whose BeforeConnect or AfterConnect fails is
// repeated after a pause, while who asked for the connection waits; an error of
// [Permanent] is their answer, as a *model.DialError. The last WithHooks counts.
func WithHooks(h Hooks) Option {
	return func(o *options) { o.hooks = h }
}

// Permanent marks the error of a hook as one that lasts until somebody does something
// about it. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// hooks calls them.
type hooks struct {
	Hooks
	log *sparseLog
}

func newHooks(h Hooks, dialTimeout time.Duration, log *slog.Logger) (*hooks, error) {
	for name, d := range map[string]*time.Duration{"Timeout": &h.Timeout, "PingTimeout": &h.PingTimeout} {
		if *d < 0 {
			return nil, fmt.Errorf("WithHooks: %s is %v: it must not be negative; 0 is Config.DialTimeout", name, *d)
		}
		*d = cmp.Or(*d, dialTimeout)
	}
	return &hooks{h, newSparseLog(log)}, nil
}

// hookGrace is for a hook to return after its context's end: what it waits for may be a
// query, which may outlive its context (see cancelWithin).
const hookGrace = time.Second

var (
	errHookRuns = errors.New("it has not returned in time")
	errHookLeft = errors.New("it left the connection closed, in a transaction or in the middle of a result")
)

// hookError is the failure of a hook.
type hookError struct {
	name string
	text string // err's, without the password
	err  error
}

func (e *hookError) Error() string { return "hook " + e.name + ": " + e.text }
func (e *hookError) Unwrap() error { return e.err }

// failure is that of a dial.
func (e *hookError) failure() *dialFailure {
	kind := model.Transient
	if errors.As(e.err, new(permanent)) {
		kind = model.Permanent
	}
	return &dialFailure{kind: kind, err: e}
}

// call runs a hook on the backend, which belongs to it meanwhile. If the hook does not
// return in time the backend can only be closed.
func (h *hooks) call(ctx context.Context, b *backend, name string, hook func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	returned := apart(func() error { return hook(ctx) })
	var err error
	select {
	case err = <-returned:
	case <-ctx.Done():
		timer := time.NewTimer(hookGrace)
		defer timer.Stop()
		select {
		case err = <-returned:
		case <-timer.C:
			b.overrun, err = returned, errHookRuns
		}
	}
	if err == nil {
		return nil
	}
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		h.log.warn("A hook panicked", func() []any { return []any{"hook", name, "stack", string(panicked.Stack)} })
	}
	return &hookError{name, b.withoutPassword(err.Error()), err}
}

// withoutPassword takes out those that the connection was to be opened with, before and
// after BeforeConnect.
func (b *backend) withoutPassword(text string) string {
	text = hide(text, b.password)
	if b.pgx != nil {
		text = hide(text, b.pgx.Config().Password)
	}
	return text
}

// beforeConnect lets the hook change what may be changed.
func (d *dialer) beforeConnect(ctx context.Context, b *backend, config *pgx.ConnConfig) error {
	if d.hooks.BeforeConnect == nil {
		return nil
	}
	before, host, port := config.Database, config.Host, config.Port
	password, build, validate := config.Password, config.BuildFrontend, config.ValidateConnect
	config.OnPgError, config.ValidateConnect = nil, nil
	err := d.hooks.call(ctx, b, "BeforeConnect", func(ctx context.Context) error {
		return d.hooks.BeforeConnect(ctx, b.workspace, config)
	})
	switch {
	case err != nil:
		if failed, ok := errors.AsType[*hookError](err); ok && b.overrun == nil { // or the config is still the hook's
			failed.text = hide(failed.text, config.Password)
		}
		return err
	case config.Database != before:
		err = fmt.Errorf("it changed the Database from %q to %q: each workspace has its own (see WithNaming)", before, config.Database)
	case config.Host != host, config.Port != port:
		err = fmt.Errorf("it changed the server from %s:%d to %s:%d: the budget is that of one server; use DialFunc for another way to it",
			host, port, config.Host, config.Port)
	}
	if err != nil {
		return &hookError{"BeforeConnect", err.Error(), Permanent(err)}
	}
	config.ValidateConnect = bothValidate(validate, config.ValidateConnect)
	config.BuildFrontend = build
	if config.Password != password { // the keys that are remembered are not its
		config.BuildFrontend = pgproto3.NewFrontend
	}
	if config.RuntimeParams == nil {
		config.RuntimeParams = make(map[string]string)
	}
	config.RuntimeParams["client_encoding"] = clientEncoding
	d.identity.introduce(config)
	return nil
}

func bothValidate(ours, theirs pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	switch {
	case ours == nil:
		return theirs
	case theirs == nil:
		return ours
	}
	return func(ctx context.Context, pg *pgconn.PgConn) error {
		if err := ours(ctx, pg); err != nil {
			return err
		}
		return theirs(ctx, pg)
	}
}

// afterConnect prepares the session of a backend that was dialed or reset.
func (h *hooks) afterConnect(ctx context.Context, b *backend) error {
	if h.AfterConnect == nil {
		return nil
	}
	const name = "AfterConnect"
	err := h.call(ctx, b, name, func(ctx context.Context) error { return h.AfterConnect(ctx, b.workspace, b.pgx) })
	if err == nil && b.health() != core.Clean {
		return &hookError{name, errHookLeft.Error(), errHookLeft}
	}
	if err == nil {
		b.bare = false
	}
	return err
}

// freshen makes a session as it was after its dial, if there is an AfterConnect: without
// one the statement that needs it so does that itself (see newStatement).
func (h *hooks) freshen(ctx context.Context, b *backend) error {
	if h.AfterConnect == nil {
		return nil
	}
	if b.dirty {
		if _, err := b.pgx.PgConn().Exec(ctx, reset.Query).ReadAll(); err != nil {
			return err
		}
		b.dirty, b.bare = false, true
		b.wire.noteReset()
	}
	if b.bare {
		return h.afterConnect(ctx, b)
	}
	return nil
}

// restored tells whether the session has what AfterConnect does to it.
func (h *hooks) restored(ctx context.Context, b *backend) bool {
	return !b.bare || h.afterConnect(ctx, b) == nil
}

func (h *hooks) beforeClose(b *backend) {
	if h.BeforeClose == nil {
		return
	}
	err := h.call(context.Background(), b, "BeforeClose", func(context.Context) error {
		h.BeforeClose(b.workspace, b.pgx)
		return nil
	})
	if err != nil {
		h.warn(b, err)
	}
}

// warn is for a failure that nobody waits for.
func (h *hooks) warn(b *backend, err error) {
	h.log.warn("A hook failed, and its connection is closed", func() []any { return []any{"workspace_id", b.workspace, "error", err.Error()} })
}
