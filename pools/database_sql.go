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
	log *sparseLog
	// turn holds the registry. Whoever has received it may read and change it, and
	// sends it back at once.
	turn chan *registry
}

type registry struct {
	open map[string]*sharedDB
	// recent has the ones that had not connected when they were last looked at, the
	// most recently asked for first.
	recent list.List
	// ended: the manager is closed; from then on open and recent do not change.
	ended bool
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

func newDatabases(log *sparseLog) *databases {
	d := &databases{log, make(chan *registry, 1)}
	d.turn <- &registry{open: make(map[string]*sharedDB)}
	return d
}

// closeUnconnected keeps recent at its bound, but closes none that is in use.
func (r *registry) closeUnconnected() {
	for n := r.recent.Len(); n > 0 && r.recent.Len() > maxUnconnected; n-- {
		s := r.recent.Back().Value.(*sharedDB)
		switch {
		case s.connected.Load():
			r.recent.Remove(s.place)
			s.place = nil
		case s.db.Stats().OpenConnections > 0:
			r.recent.MoveToFront(s.place)
		default:
			r.forget(s)
			if s.ended.CompareAndSwap(false, true) { // or its user closes it just now
				_ = s.db.Close()
			}
		}
	}
}

func (r *registry) forget(s *sharedDB) {
	if r.open[s.key] == s {
		delete(r.open, s.key)
	}
	if s.place != nil {
		r.recent.Remove(s.place)
		s.place = nil
	}
}

// get returns the workspace's *sql.DB; after end, one that says so.
func (d *databases) get(w *Workspace) *sql.DB {
	w = shortened(w)
	r := <-d.turn
	defer func() { d.turn <- r }()
	s := r.open[w.key]
	switch {
	case s == nil && r.ended:
		return closedDB()
	case s == nil:
		s = newSharedDB(d, w)
		r.open[w.key] = s
		s.place = r.recent.PushFront(s)
		r.closeUnconnected()
	case s.place != nil && !r.ended:
		r.recent.MoveToFront(s.place)
	}
	return s.db
}

// shortened bounds what is kept of an id that cannot be one: what is left is too long
// for one, too, and refused for it.
func shortened(w *Workspace) *Workspace {
	const kept = 100
	if len(w.id) <= kept {
		return w
	}
	id := model.WorkspaceID(strings.Clone(string(w.id[:kept])))
	return &Workspace{id: id, key: workspaceKey(id), databases: w.databases, acquire: w.acquire}
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
	r := <-d.turn
	if s := r.open[key]; s != nil && !r.ended {
		s.connected.Store(false)
		if s.place == nil {
			s.place = r.recent.PushFront(s)
			r.closeUnconnected()
		}
	}
	d.turn <- r
}

// end makes the *sql.DBs return model.ErrClosed. It does not close them: what they
// returned then would be database/sql's "database is closed", which errors.Is does not
// know.
func (d *databases) end() {
	r := <-d.turn
	r.ended = true
	for _, s := range r.open {
		s.workspace.Store(nil)
	}
	d.turn <- r
}

// closeAll is called after end, when nobody has the manager any more.
func (d *databases) closeAll() {
	r := <-d.turn
	for _, s := range r.open {
		_ = s.db.Close()
	}
	d.turn <- r
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
	r := <-s.databases.turn
	if !r.ended {
		r.forget(s)
	}
	s.databases.turn <- r
	s.databases.log.warn("A *sql.DB that a workspace's users share was closed: use sql.OpenDB(workspace.Connector()) for a tool that closes it", func() []any {
		return []any{"workspace_id", w.id}
	})
	return nil
}
