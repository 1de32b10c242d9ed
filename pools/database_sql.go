package pools

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// databases owns the *sql.DB of each workspace that was asked for one. A *sql.DB
// costs a goroutine, so there must not be one for each request; nor can it be
// given up, because whoever has it may use it later.
type databases struct {
	asked   chan ask
	closed  chan string // the key of one that its user has closed
	stopped chan struct{}
	done    chan struct{}
}

type ask struct {
	workspace *Workspace
	answer    chan *sql.DB
}

func startDatabases() *databases {
	d := &databases{asked: make(chan ask), closed: make(chan string), stopped: make(chan struct{}), done: make(chan struct{})}
	go d.run()
	return d
}

func (d *databases) run() {
	defer close(d.done)
	open := make(map[string]*sql.DB)
	for {
		select {
		case a := <-d.asked:
			db := open[a.workspace.key]
			if db == nil {
				db = newDB(a.workspace)
				open[a.workspace.key] = db
			}
			a.answer <- db
		case key := <-d.closed:
			delete(open, key)
		case <-d.stopped:
			for _, db := range open {
				_ = db.Close()
			}
			return
		}
	}
}

// get returns the workspace's *sql.DB; after stop, one that is closed.
func (d *databases) get(w *Workspace) *sql.DB {
	a := ask{w, make(chan *sql.DB, 1)}
	select {
	case d.asked <- a:
		return <-a.answer
	case <-d.done:
		db := newDB(w)
		_ = db.Close()
		return db
	}
}

// stop closes them all. It is called once.
func (d *databases) stop() {
	close(d.stopped)
	<-d.done
}

func newDB(w *Workspace) *sql.DB {
	db := sql.OpenDB(connector{w})
	db.SetMaxIdleConns(-1) // a connection that is not in use goes back to the manager
	// Whoever sets SetMaxIdleConns and SetMaxOpenConns himself makes database/sql
	// open connections in advance, and keep one that nobody waits for any more
	// without asking IsValid. This gives it back after a second.
	db.SetConnMaxIdleTime(time.Millisecond)
	return db
}

// connector opens a database/sql connection by acquiring one.
type connector struct{ workspace *Workspace }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.workspace.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return &driverConn{conn.backend.driver, conn}, nil
}

func (c connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// Close is called by the *sql.DB when its user closes it, against the rule: the
// next one to ask gets a new one.
func (c connector) Close() error {
	select {
	case c.workspace.databases.closed <- c.workspace.key:
	case <-c.workspace.databases.stopped:
	}
	return nil
}
