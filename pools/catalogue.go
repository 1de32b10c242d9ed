package pools

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// admit looks a workspace that has no connection up in the server's catalogue, so that
// an id without a database costs nobody a slot: neither the dial that would find it out
// nor the eviction that makes room for it. Until the server has been met, it refuses all.
// The error is a *model.DialError.
//
// Whatever the catalogue cannot tell, by the deadline at the latest, is for the
// supervisor and the dial to decide.
func (m *Manager) admit(ctx context.Context, id model.WorkspaceID, deadline time.Time) error {
	if err := m.met(id); err != nil {
		return err
	}
	if m.supervisor.Active(workspaceShare, id) {
		return nil
	}
	changes := m.catalogue.changes.Load()
	asking, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	failed := m.lookFor(asking, id)
	if failed == nil && ctx.Err() == nil {
		return nil
	}
	// A paused workspace keeps its waiters: its database is being restored. If its
	// pause ended, or it was created, since the question, the answer is too old.
	paused := m.supervisor.Paused(workspaceShare, id)
	switch {
	case failed == nil:
		return fmt.Errorf("acquire workspace %q: its context ended while the server was asked whether there is its database, and before a connection was: %w",
			id, actor.Ended(ctx))
	case paused, m.catalogue.changes.Load() != changes:
		return nil
	}
	m.catalogue.log.warn("Workspace refused", func() []any {
		return []any{"workspace_id", id, "error", failed.Error()}
	})
	return failed
}

// lookFor returns why the workspace's database cannot be dialed, or nil if it can, or if ctx
// ended before that was known.
func (m *Manager) lookFor(ctx context.Context, id model.WorkspaceID) error {
	p, err := m.placeOf(ctx, id)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // its time is over, whatever the resolver says
	}
	if err != nil {
		return unresolved(id, err)
	}
	if refused, _ := m.catalogue.ask(ctx, p.database); refused != nil {
		return &model.DialError{WorkspaceID: id, Kind: refused.kind, Err: refused}
	}
	return nil
}

// known returns an error that wraps model.ErrNoWorkspace if there is nothing to steer:
// the workspace has no connection and no pause, and the server's catalogue has no
// database of it. If the catalogue cannot be asked now, the error wraps
// model.ErrNotKnown; it is nil if the server answers, and cannot tell. It asks even if
// ctx is done: a stranger cannot be paused by a caller who does not wait.
func (m *Manager) known(ctx context.Context, id model.WorkspaceID) error {
	if err := m.valid(id); err != nil {
		return err
	}
	if m.supervisor.Active(workspaceShare, id) || m.supervisor.Paused(workspaceShare, id) {
		return nil
	}
	asking, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*lookAtMost) // one query may be under way already
	defer stop()
	p, err := m.placeOf(asking, id)
	var refused *dialFailure
	if err == nil {
		refused, err = m.catalogue.ask(asking, p.database)
	}
	switch {
	case errors.Is(err, model.ErrNoWorkspace), errors.As(err, new(*model.WorkspaceIDError)):
		return err
	case refused != nil && refused.Is(model.ErrNoWorkspace):
		return fmt.Errorf("workspace %q: %w (%q)", id, model.ErrNoWorkspace, p.database)
	case errors.Is(err, model.ErrClosed):
		return err
	case err != nil && !cannotTell(err):
		// Its text only: nothing of the caller's was lost or took too long.
		return fmt.Errorf("workspace %q: %w: %s", id, model.ErrNotKnown, err.Error())
	}
	return nil
}

// cannotTell: the server has answered, and its catalogue says nothing about workspaces.
func cannotTell(err error) bool {
	var dial *model.DialError
	var said *pgconn.PgError
	return errors.Is(err, errOtherNames) ||
		!errors.As(err, &dial) && errors.As(err, &said) && said.Code == pgerrcode.InsufficientPrivilege
}

// catalogue answers whether a database can be dialed. One goroutine owns what it
// remembers. One query is under way at a time; whoever asks meanwhile is in the next
// one, which begins after the question and so cannot be older than it.
type catalogue struct {
	// look asks the server about all of the names. The map has those that cannot be
	// dialed.
	look func(ctx context.Context, names []string) (map[string]*dialFailure, error)
	log  *sparseLog
	// changes counts what may make a database acquirable: it is raised before a pause
	// ends, and after a database was created.
	changes atomic.Uint64

	asked   chan question
	failed  chan string // a name that does not exist after all, or not any more
	stopped chan struct{}
	done    chan struct{}
}

type question struct {
	name   string
	answer chan answer // has room
}

// answer is nothing of a database that may be dialed.
type answer struct {
	refused *dialFailure
	err     error // why nobody knows
}

type findings struct {
	refused map[string]*dialFailure
	err     error
}

const (
	// lookAtMost bounds how long a dial waits for the catalogue. lookAgain is how long
	// dials do not wait at all after it did not answer.
	lookAtMost = time.Second
	lookAgain  = time.Second
	// namesAtOnce bounds one query.
	namesAtOnce = 1000
)

func startCatalogue(look func(context.Context, []string) (map[string]*dialFailure, error), log *sparseLog) *catalogue {
	c := &catalogue{
		look: look, log: log,
		asked: make(chan question), failed: make(chan string), stopped: make(chan struct{}), done: make(chan struct{}),
	}
	go c.run()
	return c
}

// ask returns why the database cannot be dialed, or nil if it can. If nobody knows,
// the error says why. It blocks until the query after the one under way has ended, or
// ctx is done.
func (c *catalogue) ask(ctx context.Context, name string) (*dialFailure, error) {
	q := question{name, make(chan answer, 1)}
	select {
	case c.asked <- q:
	case <-c.done:
		return nil, model.ErrClosed
	}
	select {
	case a := <-q.answer:
		return a.refused, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, model.ErrClosed
	}
}

// forget is told of a name that could not be dialed, or whose database was dropped.
func (c *catalogue) forget(name string) {
	select {
	case c.failed <- name:
	case <-c.done:
	}
}

// stop is called once. Questions without an answer get model.ErrClosed.
func (c *catalogue) stop() {
	close(c.stopped)
	<-c.done
}

func (c *catalogue) run() {
	defer close(c.done)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var (
		known       recent[string, struct{}]
		asked, next []question // of the query under way, and of the one after it
		found       = make(chan findings, 1)
		silentUntil time.Time
		silence     error // why
	)
	for {
		select {
		case q := <-c.asked:
			_, there := known.get(q.name)
			switch {
			case there:
				q.answer <- answer{}
			case time.Now().Before(silentUntil):
				q.answer <- answer{err: silence}
			default:
				next = append(next, q)
			}
		case name := <-c.failed:
			known.remove(name)
		case f := <-found:
			if f.err != nil {
				silentUntil, silence = time.Now().Add(lookAgain), f.err
				c.log.warn("The server's catalogue was not asked", func() []any {
					return []any{"error", f.err.Error()}
				})
				asked, next = append(asked, next...), nil
			}
			for _, q := range asked {
				if f.err == nil && f.refused[q.name] == nil {
					known.add(q.name, struct{}{})
				}
				q.answer <- answer{f.refused[q.name], f.err}
			}
			asked = nil
		case <-c.stopped:
			return
		}
		if len(asked) == 0 && len(next) > 0 {
			n := min(len(next), namesAtOnce)
			asked, next = next[:n:n], next[n:]
			go func(names []string) {
				ctx, stop := context.WithTimeout(ctx, lookAtMost)
				defer stop()
				refused, err := c.look(ctx, names)
				found <- findings{refused, err}
			}(namesOf(asked))
		}
	}
}

func namesOf(questions []question) []string {
	names := make([]string, len(questions))
	for i, q := range questions {
		names[i] = q.name
	}
	return names
}

// recent remembers what was added or asked for last: between one and two generations of
// it. Its zero value is empty.
type recent[K comparable, V any] struct{ young, old map[K]V }

// generation is how much of it a generation has.
const generation = 2048

func (r *recent[K, V]) get(key K) (V, bool) {
	if v, ok := r.young[key]; ok {
		return v, true
	}
	v, ok := r.old[key]
	if ok {
		r.add(key, v)
	}
	return v, ok
}

func (r *recent[K, V]) add(key K, v V) {
	if r.young == nil || len(r.young) == generation {
		r.young, r.old = make(map[K]V), r.young
	}
	r.young[key] = v
}

func (r *recent[K, V]) remove(key K) {
	delete(r.young, key)
	delete(r.old, key)
}

// askDatabases asks what the server asks itself at a login.
const askDatabases = `
SELECT datname, datallowconn, datconnlimit,
       coalesce(pg_catalog.has_database_privilege(session_user, oid, 'CONNECT'), false),
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user)
FROM pg_catalog.pg_database WHERE datname = ANY ($1::pg_catalog.name[])`

// lookUp is the catalogue's question to the server.
func (m *Manager) lookUp(ctx context.Context, names []string) (map[string]*dialFailure, error) {
	databases, err := askOwn(ctx, m, pgx.RowToStructByPos[database], askDatabases, append(names, m.config.SystemDatabase))
	if err != nil {
		return nil, err
	}
	refused := make(map[string]*dialFailure)
	for _, name := range names {
		refused[name] = saidOf(name, pgerrcode.InvalidCatalogName, `database %q does not exist`)
	}
	namesAreOurs := false
	for _, d := range databases {
		namesAreOurs = namesAreOurs || d.Name == m.config.SystemDatabase
		if refused[d.Name] = d.refuses(); refused[d.Name] == nil {
			delete(refused, d.Name)
		}
	}
	if !namesAreOurs {
		return nil, errOtherNames
	}
	return refused, nil
}

// errOtherNames: a proxy has names of its own for databases.
var errOtherNames = errors.New("it does not have the system database under the name DB_NAME")

// database is a row of askDatabases: of pg_database, and what our role may do there.
type database struct {
	Name             string
	TakesConnections bool
	Limit            int
	MayConnect       bool
	Superuser        bool
}

// invalidDatabase is the limit of a database whose DROP was interrupted.
const invalidDatabase = -2

// refuses is what the server would say to a login, or nil.
func (d database) refuses() *dialFailure {
	switch {
	case d.Limit == invalidDatabase:
		return saidOf(d.Name, pgerrcode.ObjectNotInPrerequisiteState, `cannot connect to invalid database %q`)
	case !d.TakesConnections:
		return saidOf(d.Name, pgerrcode.ObjectNotInPrerequisiteState, `database %q is not currently accepting connections`)
	case !d.MayConnect:
		return saidOf(d.Name, pgerrcode.InsufficientPrivilege, `permission denied for database %q`)
	case d.Limit == 0 && !d.Superuser:
		f := saidOf(d.Name, pgerrcode.TooManyConnections, `too many connections for database %q`)
		f.kind = model.Permanent // with any other limit a connection may come free
		return f
	}
	return nil
}

// saidOf is the refusal in the server's own form.
func saidOf(database, code, message string) *dialFailure {
	return newRefusal(&pgconn.PgError{
		Severity: "FATAL", Code: code, Message: fmt.Sprintf(message, database), Routine: checkMyDatabase,
	})
}
