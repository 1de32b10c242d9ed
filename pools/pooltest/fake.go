package pooltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Query is a statement that reached a Fake.
type Query struct {
	// Workspace is whose session it is; empty in the system database, and with
	// pools.WithNaming. Database is the name of its database.
	Workspace model.WorkspaceID
	Database  string
	// SQL is one statement, as it was sent, without white space around it.
	SQL string
	// Args are the arguments as PostgreSQL's text (42, t, 2026-05-04 10:00:00Z, {a,b}), or
	// nil for NULL, of whichever type they were; see Scan.
	Args []any
}

// Handler answers a statement. Without a result and an error it succeeds with PostgreSQL's
// tag and no rows; an INSERT, UPDATE or DELETE has then changed one row. So a handler
// answers what the test is about, and returns nil, nil for the rest.
//
// An error that is a *pgconn.PgError (see Refuse) is the server's answer, ErrHangUp cuts
// the connection, and any other one is told with SQLSTATE XX000. In a transaction all
// of them abort it. BEGIN, COMMIT and the like come to the handler as well, and can fail.
//
// It is called on a goroutine of the session, so several at once: use no t.Fatal there.
// ctx ends when the statement is cancelled, which the server then reports as SQLSTATE
// 57014, and when the session ends.
type Handler func(ctx context.Context, q Query) (*Result, error)

// ErrHangUp is for a Handler: the network breaks before the answer.
var ErrHangUp = errors.New("pooltest: hang up")

// Refuse is for a Handler: the server's error with this SQLSTATE, as in
// Refuse("23505", "duplicate key").
func Refuse(sqlstate, message string) error {
	return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: sqlstate, Message: message}
}

// Fake is a pretended PostgreSQL: it speaks the protocol, has sessions, databases,
// transactions, cancel requests and a limit of connections, and knows what a manager asks
// of a server. It knows no SQL: statements are answered by a Handler. Of the protocol it
// lacks COPY, NOTIFY, passwords and TLS.
//
// In a bubble of testing/synctest (NewFake is given the bubble's t) its clients come over
// pipes, and all of it, the Manager too, lives in the bubble's time.
//
// Its methods may be called from any goroutine.
type Fake struct {
	tb       testing.TB
	bubble   bool
	handle   Handler
	listen   func() (port int, err error)   // the first call begins to
	manager  func() (*pools.Manager, error) // the first call opens it
	ask      chan func(*state)              // what is to be done to the state, which one goroutine owns
	sessions sync.WaitGroup
	ended    context.Context
	end      context.CancelFunc
}

// state is what all sessions share.
type state struct {
	databases map[string]bool
	sessions  map[uint32]*session // by process id
	lastPID   uint32
	down      bool
	max       int
	latency   time.Duration
}

// fakeMaxConnections is what a Fake allows at first, which is as much as managers have by
// default.
const fakeMaxConnections = 100

// What a Fake's manager is told, besides where the server is.
const (
	fakeUser   = "pooltest"
	fakeSystem = "pooltest" // the system database
	fakePrefix = "test"
)

// NewFake returns a server that is up, has no workspace, and ends with the test. Without a
// handler each statement succeeds.
func NewFake(tb testing.TB, handle Handler) *Fake {
	tb.Helper()
	if handle == nil {
		handle = func(context.Context, Query) (*Result, error) { return nil, nil }
	}
	f := &Fake{tb: tb, bubble: inBubble(tb), handle: handle, ask: make(chan func(*state))}
	f.ended, f.end = context.WithCancel(context.Background())
	// Neither ends the test by itself, for which a Once would panic.
	f.listen = sync.OnceValues(f.startListening)
	f.manager = sync.OnceValues(func() (*pools.Manager, error) {
		cfg, err := f.config()
		if err != nil {
			return nil, err
		}
		return f.open(cfg)
	})
	f.sessions.Go(f.own)
	tb.Cleanup(func() {
		f.end()
		f.sessions.Wait()
	})
	return f
}

// own does to the state what it is asked for.
func (f *Fake) own() {
	s := &state{
		databases: map[string]bool{fakeSystem: true},
		sessions:  make(map[uint32]*session),
		max:       fakeMaxConnections,
	}
	for {
		select {
		case change := <-f.ask:
			change(s)
		case <-f.ended.Done():
			return
		}
	}
}

// with does something to the state and returns when that is done, or the fake has ended.
func (f *Fake) with(do func(*state)) {
	done := make(chan struct{})
	select {
	case f.ask <- func(s *state) { do(s); close(done) }:
		<-done
	case <-f.ended.Done():
	}
}

// inBubble tells whether it is the T of a bubble of testing/synctest, which panics when it
// is asked for its deadline.
func inBubble(tb testing.TB) (is bool) {
	test, ok := tb.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return false
	}
	defer func() { is = recover() != nil }()
	test.Deadline()
	return false
}

// startListening has clients come over loopback.
func (f *Fake) startListening() (port int, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	context.AfterFunc(f.ended, func() { _ = listener.Close() })
	f.sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.sessions.Go(func() { f.serve(conn) })
		}
	})
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Dial connects to the fake without a network, whatever the address: for a
// pgconn.Config's DialFunc.
func (f *Fake) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := errors.Join(ctx.Err(), f.ended.Err()); err != nil {
		return nil, fmt.Errorf("pooltest: dial the fake: %w", err)
	}
	client, server := net.Pipe()
	f.sessions.Go(func() { f.serve(newEager(server)) })
	return client, nil
}

// Config returns how to connect to the fake over loopback, for a manager of the test's own.
// The leases are traced.
//
// In a bubble nobody listens there: the hook BeforeConnect has to set the DialFunc to Dial.
func (f *Fake) Config() model.Config {
	f.tb.Helper()
	cfg, err := f.config()
	if err != nil {
		f.tb.Fatalf("pooltest: start a fake: %v", err)
	}
	return cfg
}

func (f *Fake) config() (_ model.Config, err error) {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.SSLMode = "127.0.0.1", "disable"
	if !f.bubble {
		cfg.Port, err = f.listen()
	}
	cfg.User, cfg.Prefix, cfg.SystemDatabase = fakeUser, fakePrefix, fakeSystem
	cfg.LeaseTracing = true
	return cfg, err
}

// Manager returns a manager with the settings of Config, always the same one. When the
// test ends it is closed, and the test fails if a connection is still lent.
func (f *Fake) Manager() *pools.Manager {
	f.tb.Helper()
	return f.opened(f.manager())
}

// Open returns a manager of its own, with the settings of Config but for what change
// changes. It ends as that of Manager. In a bubble hooks in options replace the one that
// dials: see Config.
func (f *Fake) Open(change func(*model.Config), options ...pools.Option) *pools.Manager {
	f.tb.Helper()
	cfg := f.Config()
	if change != nil {
		change(&cfg)
	}
	return f.opened(f.open(cfg, options...))
}

func (f *Fake) opened(m *pools.Manager, err error) *pools.Manager {
	f.tb.Helper()
	if err != nil {
		f.tb.Fatalf("pooltest: %v", err)
	}
	return m
}

func (f *Fake) open(cfg model.Config, options ...pools.Option) (*pools.Manager, error) {
	all := []pools.Option{pools.WithLogger(nil)}
	if f.bubble {
		all = append(all, pools.WithHooks(pools.Hooks{BeforeConnect: f.beforeConnect}))
	}
	m, err := pools.Open(f.ended, cfg, append(all, options...)...)
	if err != nil {
		return nil, err
	}
	f.tb.Cleanup(func() {
		f.tb.Helper()
		f.heal() // or closing would take its time
		if err := untilHome(context.Background(), m, m.Close); err != nil {
			f.tb.Error(err)
		}
	})
	return m, nil
}

func (f *Fake) beforeConnect(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
	config.DialFunc = f.Dial
	return nil
}

// Workspace returns a workspace of Manager. If it has no database it gets one, as with
// pools.Manager.CreateWorkspace; those of other ids are refused as PostgreSQL does (the
// error wraps model.ErrNoWorkspace).
func (f *Fake) Workspace(id model.WorkspaceID) *pools.Workspace {
	f.tb.Helper()
	f.CreateDatabase(workspacePrefix + string(id))
	return f.Manager().Workspace(id)
}

// workspacePrefix begins the names of workspaces' databases.
const workspacePrefix = fakePrefix + "_ws_"

// CreateDatabase adds databases, by their names, that are not there yet.
func (f *Fake) CreateDatabase(names ...string) {
	f.with(func(s *state) {
		for _, name := range names {
			s.databases[name] = true
		}
	})
}

// SetDown takes the server down, or up again. Going down it ends all sessions, and takes
// no logins (SQLSTATE 57P03) until it is up.
func (f *Fake) SetDown(down bool) {
	f.with(func(s *state) {
		s.down = down
		if down {
			s.disconnect(func(*session) bool { return true })
		}
	})
}

// SetMaxConnections has the server refuse logins while it has so many sessions (SQLSTATE
// 53300), the system database's included; with 0 it is full. Those that it has stay. It
// begins with 100.
func (f *Fake) SetMaxConnections(n int) { f.with(func(s *state) { s.max = n }) }

// SetLatency has the server take so much longer for each login and each statement.
func (f *Fake) SetLatency(d time.Duration) { f.with(func(s *state) { s.latency = d }) }

// Disconnect ends the sessions of the workspaces (of all databases, if none is given) as
// pg_terminate_backend does, and returns how many there were. Statements that run end
// with SQLSTATE 57P01.
func (f *Fake) Disconnect(ids ...model.WorkspaceID) (sessions int) {
	f.with(func(s *state) {
		sessions = s.disconnect(func(session *session) bool {
			return len(ids) == 0 || session.workspace != "" && slices.Contains(ids, session.workspace)
		})
	})
	return sessions
}

// heal undoes what was done to the server.
func (f *Fake) heal() {
	f.with(func(s *state) { s.down, s.max, s.latency = false, fakeMaxConnections, 0 })
}

func (s *state) disconnect(whose func(*session) bool) (n int) {
	for pid, session := range s.sessions {
		if whose(session) {
			delete(s.sessions, pid) // it is gone for who asks
			session.terminate()
			n++
		}
	}
	return n
}

// admit lets a session in, or says why not.
func (f *Fake) admit(new *session) (refused *pgconn.PgError) {
	refused = fatal(pgerrcode.AdminShutdown, ending)
	f.with(func(s *state) {
		switch {
		case s.down:
			refused = fatal(pgerrcode.CannotConnectNow, "the database system is not accepting connections")
		case !s.databases[new.database]:
			refused = fatal(pgerrcode.InvalidCatalogName, fmt.Sprintf("database %q does not exist", new.database))
		case len(s.sessions) >= s.max:
			refused = fatal(pgerrcode.TooManyConnections, "sorry, too many clients already")
		default:
			s.lastPID++
			new.pid = s.lastPID
			s.sessions[new.pid] = new
			refused = nil
		}
	})
	return refused
}

const ending = "terminating connection due to administrator command"

func fatal(code, message string) *pgconn.PgError {
	return &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message}
}

// forget is for a session that has ended.
func (f *Fake) forget(gone *session) {
	f.with(func(s *state) {
		if s.sessions[gone.pid] == gone {
			delete(s.sessions, gone.pid)
		}
	})
}

// latency is how much longer things take.
func (f *Fake) latency() (d time.Duration) {
	f.with(func(s *state) { d = s.latency })
	return d
}
