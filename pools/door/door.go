package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Options says whom a door lets in and how it serves them. The zero value lets nobody in
// but programs of the same process (Door.DialFunc, Door.Pool).
type Options struct {
	// Users may come in with a password or a certificate.
	Users *Users
	// Tokens checks a token, which is the password of the user "token". Its error is
	// logged; the client hears only that it is not let in.
	Tokens func(token string) (Grant, error)
	// Certificates are the door's, for TLS; nil: there is no TLS.
	Certificates *Certificates
	// RequireTLS refuses plain connections from other machines.
	RequireTLS bool
	// Pooling is for users that have none of their own: TransactionPooling, unless set.
	Pooling Pooling
	// SessionState says what becomes of LISTEN and the like under transaction pooling.
	SessionState SessionState
	// Console are the names of the database that is no workspace but the console: tenantpool
	// and pgbouncer, unless set.
	Console []string
	// MaxClients may be logged in (10,000), and MaxStarting on their way to it (1,000).
	MaxClients, MaxStarting int
	// LoginTimeout bounds a log-in (15 s).
	LoginTimeout time.Duration
	// NoticeAfter is how long a client waits for a connection before it is told so, with a
	// NOTICE (1 s; less than 0: never).
	NoticeAfter time.Duration
	// IdleTransactionTimeout ends the session of a client that is idle in a transaction for so
	// long, and ClientIdleTimeout one that is idle outside of one; 0: none does.
	IdleTransactionTimeout, ClientIdleTimeout time.Duration
	// Log is where to log to; nil: nowhere.
	Log *slog.Logger
	// Reload and Shutdown are what the console's RELOAD and SHUTDOWN call; nil: they are
	// refused.
	Reload   func() error
	Shutdown func(waitForClients bool)
}

func (o Options) withDefaults() Options {
	set := func(to *int, value int) {
		if *to == 0 {
			*to = value
		}
	}
	set(&o.MaxClients, 10_000)
	set(&o.MaxStarting, 1000)
	if o.LoginTimeout == 0 {
		o.LoginTimeout = 15 * time.Second
	}
	if o.NoticeAfter == 0 {
		o.NoticeAfter = time.Second
	}
	if o.Pooling == 0 {
		o.Pooling = TransactionPooling
	}
	if o.Console == nil {
		o.Console = []string{"tenantpool", "pgbouncer"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Door serves PostgreSQL's clients. Its methods may be called from any goroutine.
type Door struct {
	manager  *pools.Manager
	options  Options
	log      *slog.Logger
	desk     *desk
	greeter  *greeter
	console  *console
	profiles profiles
	// introduces: the pool's connections have a name by which they are found again, so that
	// no client gives them another.
	introduces bool
	opened     time.Time

	closing chan struct{} // closed when Shutdown begins
	stopped atomic.Bool
	// closeOnce is for two Shutdowns at once.
	closeOnce sync.Once
	counted   struct{ logins, refused, cancels atomic.Uint64 }
}

// New makes a door in front of a Manager, which the caller owns, and closes after
// Shutdown. It fails if the options make no sense.
func New(m *pools.Manager, o Options) (*Door, error) {
	o = o.withDefaults()
	if o.MaxClients < 1 || o.MaxStarting < 1 {
		return nil, fmt.Errorf("door: MaxClients is %d and MaxStarting %d: both must be at least 1", o.MaxClients, o.MaxStarting)
	}
	if o.RequireTLS && o.Certificates == nil {
		return nil, errors.New("door: RequireTLS is set, but there is no certificate: set Certificates")
	}
	d := &Door{
		manager: m, options: o, log: o.Log, desk: openDesk(o.MaxClients), introduces: m.Introduces(),
		opened: time.Now(), closing: make(chan struct{}),
	}
	d.greeter = &greeter{
		lobby: openLobby(o.MaxStarting), authenticator: newAuthenticator(o), certificates: o.Certificates,
		requireTLS: o.RequireTLS, within: o.LoginTimeout,
	}
	d.console = newConsole(d)
	return d, nil
}

// Serve lets in the clients of a listener, which it closes, and blocks until Shutdown
// begins, which is no error, or the listener fails. It may be called for several.
func (d *Door) Serve(l net.Listener) error {
	served := make(chan struct{})
	defer close(served)
	go func() {
		select {
		case <-d.closing:
		case <-served:
		}
		_ = l.Close()
	}()
	for pause := time.Millisecond; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = time.Millisecond
			leave := d.greeter.lobby.enter(conn) // here, so that who came first is the oldest
			go d.welcome(conn, leave)
		case d.stopped.Load():
			return nil
		case temporary(err): // out of files, for example: others will end
			d.log.Warn("A client cannot be accepted", "error", err.Error())
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
		default:
			return fmt.Errorf("door: %w", err)
		}
	}
}

func temporary(err error) bool {
	var net net.Error
	return errors.As(err, &net) && net.Temporary() //nolint:staticcheck // of Accept it means what it says
}

// welcome serves one client from its first byte to its last.
func (d *Door) welcome(conn net.Conn, leave func()) {
	defer func() { _ = conn.Close() }()
	in, cancel, err := d.greeter.greet(context.Background(), conn)
	leave()
	switch {
	case err != nil:
		d.counted.refused.Add(1)
		d.log.Info("A client was not let in", "address", conn.RemoteAddr().String(), "error", err.Error())
	case cancel != nil:
		d.cancel(cancel)
	default:
		d.admit(in)
	}
}

// cancel carries out a cancel request. Whoever sends it waits for the end of its
// connection, and knows nothing else of what came of it.
func (d *Door) cancel(request *cancelRequest) {
	d.counted.cancels.Add(1)
	if c := d.desk.find(request.pid, request.secret); c != nil && c.session != nil {
		c.session.gate.cancel(context.Background())
	}
}

// admit serves a client that is logged in.
func (d *Door) admit(in *login) {
	c := &client{conn: in, user: in.grant.User, database: in.database, since: time.Now()}
	refuse := func(why *pgproto3.ErrorResponse) {
		d.counted.refused.Add(1)
		d.log.Info("A client was not let in", "address", in.RemoteAddr().String(), "user", in.user, "database", in.database, "error", why.Message)
		_, _ = in.Write(encoded(why))
	}
	c.console = in.workspace == "" && slices.Contains(d.options.Console, in.database)
	if c.console && in.grant.Console == NoConsole {
		refuse(fatal(pgerrcode.InsufficientPrivilege, fmt.Sprintf("user %q may not enter the console: give it console=viewer or console=admin", in.user)))
		return
	}
	if !c.console {
		id, err := model.ParseWorkspaceID(in.database)
		if err != nil {
			refuse(fatal(pgerrcode.InvalidCatalogName, fmt.Sprintf("database %q: the name of the database must be the id of a workspace: %v", in.database, err)))
			return
		}
		if !in.grant.Opens(id) {
			refuse(fatal(pgerrcode.InsufficientPrivilege, fmt.Sprintf("user %q may not open workspace %q: its credential does not name it", in.user, id)))
			return
		}
		c.workspace = id
	}
	secret := 4
	if in.minor >= 2 {
		secret = 32
	}
	var s *session
	if !c.console {
		s = newSession(d, in, c)
		c.session = s
	}
	if refused := d.desk.enter(c, secret); refused != nil {
		refuse(refused)
		return
	}
	defer d.desk.leave(c)
	if c.console {
		d.counted.logins.Add(1)
		if err := d.console.serve(in, c); err != nil {
			d.log.Debug("A client has left the console", "user", c.user, "error", err.Error())
		}
		return
	}
	if refused := s.begin(); refused != nil {
		refuse(refused)
		return
	}
	d.counted.logins.Add(1)
	s.serve()
}

// Shutdown lets nobody in any more, and blocks until all clients are gone: one that is idle
// is ended at once (SQLSTATE 57P01), one in a transaction after it. At ctx's end the rest is
// cut off, and the error wraps ctx.Err().
func (d *Door) Shutdown(ctx context.Context) error {
	if !d.stopped.Swap(true) {
		close(d.closing)
	}
	empty := d.desk.drain()
	for _, c := range d.desk.list() {
		c.end(fatal(pgerrcode.AdminShutdown, "the door is closing; connect again"))
	}
	select {
	case <-empty:
		d.close()
		return nil
	case <-ctx.Done():
	}
	left := d.desk.list()
	for _, c := range left {
		_ = c.conn.Close()
	}
	<-empty
	d.close()
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("door: %d clients were cut off: %w", len(left), ctx.Err())
}

// close ends the goroutines of a door that has no clients any more.
func (d *Door) close() {
	d.closeOnce.Do(func() {
		close(d.desk.closed)
		close(d.greeter.lobby.closed)
	})
}

// Stats is the state of the door at this moment.
func (d *Door) Stats() model.DoorStats {
	st := d.desk.stats()
	st.Logins, st.LoginsRefused, st.Cancels = d.counted.logins.Load(), d.counted.refused.Load(), d.counted.cancels.Load()
	st.Starting = d.greeter.lobby.starting()
	return st
}
