package pools

import (
	"container/list"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/model"
)

// connector opens database/sql connections that acquire at their first use.
type connector struct {
	acquire func(context.Context) (*Conn, error)
}

// Connect acquires nothing. With SetMaxOpenConns, database/sql calls it on a goroutine
// of its own and keeps the connection even if the request it was for has gone; a lease
// would then be held for nobody.
func (c connector) Connect(context.Context) (driver.Conn, error) {
	return &driverConn{acquire: c.acquire}, nil
}

func (connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// maxUnconnected is how many *sql.DBs are kept of workspaces to which no connection
// has succeeded yet. Anybody can ask for those of ids that do not exist.
const maxUnconnected = 1024

// databases owns the *sql.DBs of Workspace.DB, one for each workspace. Each costs a
// goroutine and 3 KiB until it is closed. The ones that have connected stay open, as
// their holders may use them at any time; there are no more than databases on the
// server. Of the others the least recently asked for is closed when there are more
// than maxUnconnected.
type databases struct {
	asked  chan ask
	closed chan *sharedDB // by its user
	gone   chan string    // the key of a workspace whose database does not exist
	log    *sparseLog
	stop   chan struct{}
	done   chan struct{} // from then on open and recent do not change

	open map[string]*sharedDB
	// recent has the ones that had not connected when they were last looked at, the
	// most recently asked for first.
	recent list.List
}

type ask struct {
	workspace *Workspace
	answer    chan *sql.DB
}

// sharedDB is what Workspace.DB returns, and its connector.
type sharedDB struct {
	connector
	db        *sql.DB
	key       string
	databases *databases
	// workspace is nil once the manager is closed, so that the *sql.DB does not keep
	// the manager in memory.
	workspace atomic.Pointer[Workspace]
	// connected: an acquire has succeeded, and the database has not gone since.
	connected atomic.Bool
	// ended is set by whoever closes it first, its user or the registry.
	ended atomic.Bool

	// The registry's.
	place *list.Element // in recent, or nil
}

func startDatabases(log *sparseLog) *databases {
	d := &databases{
		asked:  make(chan ask),
		closed: make(chan *sharedDB),
		log:    log,
		gone:   make(chan string),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		open:   make(map[string]*sharedDB),
	}
	go d.run()
	return d
}

func (d *databases) run() {
	defer close(d.done)
	for {
		select {
		case a := <-d.asked:
			a.answer <- d.of(a.workspace)
		case s := <-d.closed:
			d.forget(s)
		case key := <-d.gone:
			if s := d.open[key]; s != nil {
				s.connected.Store(false)
				if s.place == nil {
					s.place = d.recent.PushFront(s)
					d.closeUnconnected()
				}
			}
		case <-d.stop:
			for _, s := range d.open {
				s.workspace.Store(nil)
			}
			return
		}
	}
}

func (d *databases) of(w *Workspace) *sql.DB {
	s := d.open[w.key]
	switch {
	case s == nil:
		s = newSharedDB(d, w)
		d.open[w.key] = s
		s.place = d.recent.PushFront(s)
		d.closeUnconnected()
	case s.place != nil:
		d.recent.MoveToFront(s.place)
	}
	return s.db
}

// closeUnconnected keeps recent at its bound, but closes none that is in use.
func (d *databases) closeUnconnected() {
	for n := d.recent.Len(); n > 0 && d.recent.Len() > maxUnconnected; n-- {
		s := d.recent.Back().Value.(*sharedDB)
		switch {
		case s.connected.Load():
			d.recent.Remove(s.place)
			s.place = nil
		case s.db.Stats().OpenConnections > 0:
			d.recent.MoveToFront(s.place)
		default:
			d.forget(s)
			if s.ended.CompareAndSwap(false, true) { // or its user closes it just now
				_ = s.db.Close()
			}
		}
	}
}

func (d *databases) forget(s *sharedDB) {
	if d.open[s.key] == s {
		delete(d.open, s.key)
	}
	if s.place != nil {
		d.recent.Remove(s.place)
		s.place = nil
	}
}

// get returns the workspace's *sql.DB; after end, one that says so.
func (d *databases) get(w *Workspace) *sql.DB {
	w = shortened(w)
	a := ask{w, make(chan *sql.DB, 1)}
	select {
	case d.asked <- a:
		return <-a.answer
	case <-d.done:
	}
	if s := d.open[w.key]; s != nil {
		return s.db
	}
	return closedDB()
}

// shortened bounds what is kept of an id that cannot be one.
func shortened(w *Workspace) *Workspace {
	const kept = 100
	if len(w.id) <= kept {
		return w
	}
	id := model.WorkspaceID(strings.Clone(string(w.id[:kept])))
	refusal := fmt.Errorf("acquire: %w", &model.WorkspaceIDError{
		ID: id, Reason: fmt.Sprintf("it has more than %d bytes", model.MaxNameLength)})
	return &Workspace{
		id: id, key: workspaceKey(id), databases: w.databases,
		acquire: func(context.Context, model.WorkspaceID) (*Conn, error) { return nil, refusal },
	}
}

// closedDB is what a closed manager has for who asks for a *sql.DB: one for the process,
// until somebody closes that too.
func closedDB() *sql.DB {
	for {
		if db := dbOfClosed.Load(); db != nil {
			return db
		}
		c := &closedConnector{connector: connector{func(context.Context) (*Conn, error) { return nil, errDBOfClosed }}}
		c.db = sql.OpenDB(c)
		if !dbOfClosed.CompareAndSwap(nil, c.db) {
			_ = c.db.Close()
		}
	}
}

var dbOfClosed atomic.Pointer[sql.DB]

type closedConnector struct {
	connector
	db *sql.DB
}

// Close is database/sql's, when db is closed.
func (c *closedConnector) Close() error {
	dbOfClosed.CompareAndSwap(c.db, nil)
	return nil
}

var errDBOfClosed = fmt.Errorf("use a *sql.DB of a closed connection manager: %w", model.ErrClosed)

// noteGone is called when a workspace's database does not exist any more.
func (d *databases) noteGone(key string) {
	select {
	case d.gone <- key:
	case <-d.done:
	}
}

// end makes the *sql.DBs return model.ErrClosed. It does not close them: what they
// returned then would be database/sql's "database is closed", which errors.Is does not
// know. It is called once.
func (d *databases) end() {
	close(d.stop)
	<-d.done
}

// closeAll is called after end, when nobody has the manager any more.
func (d *databases) closeAll() {
	for _, s := range d.open {
		_ = s.db.Close()
	}
}

func newSharedDB(d *databases, w *Workspace) *sharedDB {
	s := &sharedDB{key: w.key, databases: d}
	s.connector = connector{s.acquire}
	s.workspace.Store(w)
	s.db = sql.OpenDB(s)
	s.db.SetMaxIdleConns(-1) // nothing is gained by keeping what holds no lease
	return s
}

func (s *sharedDB) acquire(ctx context.Context) (*Conn, error) {
	w := s.workspace.Load()
	if w == nil {
		return nil, errDBOfClosed
	}
	conn, err := w.Acquire(ctx)
	switch {
	case err == nil && !s.connected.Load():
		s.connected.Store(true)
	case errors.Is(err, model.ErrNoWorkspace) && s.connected.Load():
		s.databases.noteGone(s.key)
	}
	return conn, err
}

// Close is called by the *sql.DB when it is closed. If its user did that, against the
// rule, the next one to ask gets a new one; those who have this one hear from
// database/sql only that it is closed.
func (s *sharedDB) Close() error {
	w := s.workspace.Load()
	if w == nil || !s.ended.CompareAndSwap(false, true) {
		return nil // the manager is closed, or has closed it
	}
	select {
	case s.databases.closed <- s:
	case <-s.databases.done:
	}
	s.databases.log.warn("A *sql.DB that a workspace's users share was closed: use sql.OpenDB(workspace.Connector()) for a tool that closes it", func() logrus.Fields {
		return logrus.Fields{"workspace_id": w.id}
	})
	return nil
}
