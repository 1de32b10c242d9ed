package pools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
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

	// Timeout bounds each hook; 0 is Config.DialTimeout.
	Timeout time.Duration
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
	if h.Timeout < 0 {
		return nil, fmt.Errorf("WithHooks: Timeout is %v: it must not be negative; 0 is Config.DialTimeout", h.Timeout)
	}
	if h.Timeout == 0 {
		h.Timeout = dialTimeout
	}
	return &hooks{h, newSparseLog(log)}, nil
}

// hookGrace is for a hook to return after its context's end: what it waits for may be a
// query, which may outlive its context (see cancelWithin).
const hookGrace = time.Second

var (
	errHookRuns = errors.New("it has not returned in time")
	errHookExit = errors.New("it ended its goroutine instead of returning")
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
func (h *hooks) call(ctx context.Context, b *backend, name, password string, hook func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	returned, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		err := errHookExit
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
				if cause, ok := p.(error); ok {
					err = fmt.Errorf("it panicked: %w", cause)
				}
				stack := string(debug.Stack())
				h.log.warn("A hook panicked", func() []any { return []any{"hook", name, "stack", stack} })
			}
			returned <- err
		}()
		err = hook(ctx)
	}()
	var err error
	select {
	case err = <-returned:
	case <-ctx.Done():
		timer := time.NewTimer(hookGrace)
		defer timer.Stop()
		select {
		case err = <-returned:
		case <-timer.C:
			b.overrun, err = over, errHookRuns
		}
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	if password != "" {
		text = strings.ReplaceAll(text, password, "xxxxx")
	}
	return &hookError{name, text, err}
}

// beforeConnect lets the hook change what may be changed.
func (d *dialer) beforeConnect(ctx context.Context, b *backend, id model.WorkspaceID, config *pgx.ConnConfig) error {
	if d.hooks.BeforeConnect == nil {
		return nil
	}
	before, host, port := config.Database, config.Host, config.Port
	password, build, validate := config.Password, config.BuildFrontend, config.ValidateConnect
	config.OnPgError, config.ValidateConnect = nil, nil
	err := d.hooks.call(ctx, b, "BeforeConnect", password, func(ctx context.Context) error { return d.hooks.BeforeConnect(ctx, id, config) })
	switch {
	case err != nil:
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
	if ours == nil || theirs == nil {
		if ours == nil {
			return theirs
		}
		return ours
	}
	return func(ctx context.Context, pg *pgconn.PgConn) error {
		if err := ours(ctx, pg); err != nil {
			return err
		}
		return theirs(ctx, pg)
	}
}

// afterConnect ends the dial.
func (d *dialer) afterConnect(ctx context.Context, b *backend, id model.WorkspaceID) error {
	if d.hooks.AfterConnect == nil {
		return nil
	}
	const name = "AfterConnect"
	err := d.hooks.call(ctx, b, name, b.pgx.Config().Password, func(ctx context.Context) error {
		return d.hooks.AfterConnect(ctx, id, b.pgx)
	})
	if err == nil && b.health() != core.Clean {
		return &hookError{name, errHookLeft.Error(), errHookLeft}
	}
	return err
}
