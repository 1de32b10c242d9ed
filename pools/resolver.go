package pools

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Resolver gives the database of a workspace that is written down somewhere: in a table, or
// in another service. It may be called from several goroutines at once, and must return when
// ctx is done, which is after a second. Of a workspace that there is not, its error wraps
// model.ErrNoWorkspace. Two workspaces must never get the same database; that is the
// caller's to guarantee.
type Resolver func(ctx context.Context, id model.WorkspaceID) (database string, err error)

// WithResolver sets how workspaces map to databases, in place of PrefixNaming; see
// [WithWorkspaceTable] for a table in the system database.
//
// An answer is good for ten seconds. No connection is lent later than that after its
// workspace was given another database: it is closed instead. Resume, Renew and RenewAll
// forget what was answered, so to move a workspace, pause it, copy, change what the resolver
// says, and resume it, in each process. While the resolver fails, connections that are open
// are lent, and nothing is dialed.
//
// CreateWorkspace creates the database that the resolver names, and DropWorkspace drops it;
// what the resolver says of it, its owner changes. RenameWorkspace and ListWorkspaces return
// an error that wraps errors.ErrUnsupported.
func WithResolver(resolve Resolver) Option {
	return func(o *options) { o.resolver = resolve }
}

// place is where a workspace's database is.
type place struct {
	database string
	asOf     time.Time // when the resolver was asked
	err      error     // why nobody knows; it wraps model.ErrNoWorkspace if there is none
}

// resolverCalls is how many of a Resolver's calls may be under way.
const resolverCalls = 16

// resolvedFor is how long an answer of the resolver is good.
var resolvedFor atomic.Int64

func init() { resolvedFor.Store(int64(10 * time.Second)) }

// good tells whether an answer of that time still is.
func good(asOf time.Time) bool { return time.Since(asOf) < time.Duration(resolvedFor.Load()) }

// resolver remembers what was said of the workspaces asked for last. One goroutine owns
// that.
type resolver struct {
	// look asks about all of the workspaces. Those that the map lacks do not exist.
	look func(ctx context.Context, ids []model.WorkspaceID) (map[model.WorkspaceID]place, error)
	// atOnce is how many looks may be under way; each is about idsAtOnce workspaces at most.
	atOnce, idsAtOnce int
	log               *sparseLog

	asked   chan whereabouts
	changed chan []model.WorkspaceID // nil: all
	found   chan sighting
	stopped chan struct{}
	done    chan struct{}
}

// whereabouts is a question.
type whereabouts struct {
	id     model.WorkspaceID
	gone   <-chan struct{} // closed: nobody waits for the answer
	answer chan place      // has room
}

// sighting is the end of a look.
type sighting struct {
	began   time.Time
	waiters map[model.WorkspaceID][]chan place
	places  map[model.WorkspaceID]place
	err     error
}

func startResolver(r *resolver) *resolver {
	r.asked, r.changed, r.found = make(chan whereabouts), make(chan []model.WorkspaceID), make(chan sighting)
	r.stopped, r.done = make(chan struct{}), make(chan struct{})
	go r.run()
	return r
}

// callResolver is the look of a Resolver, which is asked about one workspace at a time.
func callResolver(resolve Resolver) func(context.Context, []model.WorkspaceID) (map[model.WorkspaceID]place, error) {
	return func(ctx context.Context, ids []model.WorkspaceID) (map[model.WorkspaceID]place, error) {
		var database string
		err := <-apart(func() (err error) {
			database, err = resolve(ctx, ids[0])
			return err
		})
		switch {
		case errors.Is(err, model.ErrNoWorkspace):
			return nil, nil
		case err != nil:
			return nil, err
		}
		return map[model.WorkspaceID]place{ids[0]: {database: database}}, nil
	}
}

// ask returns where the workspace's database is. It blocks until a look that began after the
// question has ended, or ctx is done; not at all if the last answer is still good.
func (r *resolver) ask(ctx context.Context, id model.WorkspaceID) place {
	q := whereabouts{id, ctx.Done(), make(chan place, 1)}
	select {
	case r.asked <- q:
	case <-r.done:
		return place{err: model.ErrClosed}
	}
	select {
	case p := <-q.answer:
		return p
	case <-ctx.Done():
		return place{err: fmt.Errorf("the resolver was not waited for any longer: %w", ctx.Err())}
	case <-r.done:
		return place{err: model.ErrClosed}
	}
}

// forget has the next question about the workspaces, or about all, asked anew. It does
// nothing where there is no resolver.
func (r *resolver) forget(ids ...model.WorkspaceID) {
	if r == nil {
		return
	}
	select {
	case r.changed <- ids:
	case <-r.done:
	}
}

// stop is called once.
func (r *resolver) stop() {
	if r == nil {
		return
	}
	close(r.stopped)
	<-r.done
}

func (r *resolver) run() {
	defer close(r.done)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var (
		known     recent[model.WorkspaceID, place]
		waiters   = make(map[model.WorkspaceID][]whereabouts) // for looks to come
		next      []model.WorkspaceID                         // the keys of waiters, in order
		underWay  int
		changedAt time.Time // what was asked before may be outdated
	)
	for {
		select {
		case q := <-r.asked:
			if p, ok := known.get(q.id); ok && good(p.asOf) {
				q.answer <- p
				continue
			}
			if waiters[q.id] == nil {
				next = append(next, q.id)
			}
			waiters[q.id] = append(waiters[q.id], q)
		case ids := <-r.changed:
			changedAt = time.Now()
			if ids == nil {
				known = recent[model.WorkspaceID, place]{}
			}
			for _, id := range ids {
				known.remove(id)
			}
		case s := <-r.found:
			underWay--
			for id, told := range s.waiters {
				p := s.place(id)
				if last, _ := known.get(id); p.err == nil && s.began.After(changedAt) && s.began.After(last.asOf) {
					known.add(id, p)
				}
				for _, answer := range told {
					answer <- p
				}
			}
			if s.err != nil {
				r.log.warn("The databases of workspaces were not found out", func() []any {
					return []any{"error", s.err.Error()}
				})
			}
		case <-r.stopped:
			return
		}
		for underWay < r.atOnce && len(next) > 0 {
			var ids []model.WorkspaceID
			told := make(map[model.WorkspaceID][]chan place)
			for ; len(next) > 0 && len(ids) < r.idsAtOnce; next = next[1:] {
				id := next[0]
				for _, q := range waiters[id] {
					if !within(q.gone, 0) {
						told[id] = append(told[id], q.answer)
					}
				}
				delete(waiters, id)
				if told[id] != nil { // or a slow resolver would be asked more and more for nobody
					ids = append(ids, id)
				}
			}
			if len(ids) == 0 {
				continue
			}
			underWay++
			go r.send(ctx, ids, told)
		}
	}
}

// send looks, and tells the loop.
func (r *resolver) send(ctx context.Context, ids []model.WorkspaceID, told map[model.WorkspaceID][]chan place) {
	s := sighting{began: time.Now(), waiters: told}
	asking, stop := context.WithTimeout(ctx, lookAtMost)
	s.places, s.err = r.look(asking, ids)
	if s.err != nil && asking.Err() != nil {
		s.err = fmt.Errorf("no answer within %v (%s)", lookAtMost, s.err.Error()) // no context of a caller's has ended
	}
	stop()
	select {
	case r.found <- s:
	case <-r.done:
	}
}

func (s sighting) place(id model.WorkspaceID) place {
	if s.err != nil {
		return place{err: s.err}
	}
	p, ok := s.places[id]
	if !ok {
		return place{err: fmt.Errorf("%w that the resolver knows of", model.ErrNoWorkspace)}
	}
	p.asOf = s.began
	return p
}

// valid tells whether the workspace may have a database, as far as that is known without
// asking anybody.
func (m *Manager) valid(id model.WorkspaceID) error {
	if m.resolver != nil {
		return id.Validate()
	}
	_, err := m.naming(id)
	return err
}

// placeOf is where the workspace's database is. Without a resolver it does not block. The
// error wraps model.ErrNoWorkspace if the resolver knows of none.
func (m *Manager) placeOf(ctx context.Context, id model.WorkspaceID) (place, error) {
	if m.resolver == nil {
		name, err := m.naming(id)
		return place{database: name}, err
	}
	if err := id.Validate(); err != nil {
		return place{}, err
	}
	p := m.resolver.ask(ctx, id)
	if p.err == nil {
		p.err = fitsWorkspace(id, p.database, m.config.SystemDatabase)
	}
	if p.err != nil {
		return place{}, fmt.Errorf("database of workspace %q: %w", id, p.err)
	}
	return p, nil
}

// databaseNow asks the resolver anew, for what changes databases.
func (m *Manager) databaseNow(ctx context.Context, id model.WorkspaceID) (string, error) {
	m.resolver.forget(id)
	p, err := m.placeOf(ctx, id)
	return p.database, err
}

// fit tells whether the connection may be lent, as far as can be told without a test.
func (m *Manager) fit(ctx context.Context, conn *Conn) bool {
	if !conn.looksAlive() {
		return false
	}
	if m.resolver == nil || !m.moved(ctx, conn) {
		return true
	}
	conn.release(core.Unclean)
	return false
}

// moved tells whether the connection is of a database that is not its workspace's any more.
// It asks when the last answer is no longer good, and again a second later if there is none:
// then the connection is lent all the same.
func (m *Manager) moved(ctx context.Context, conn *Conn) bool {
	b := conn.backend
	if b.place.asOf.IsZero() || good(b.place.asOf) {
		return false
	}
	asking, stop := context.WithTimeout(ctx, lookAtMost)
	defer stop()
	p, err := m.placeOf(asking, b.workspace)
	switch {
	case err == nil && p.database == b.place.database:
		b.place.asOf = p.asOf
		return false
	case err == nil, errors.Is(err, model.ErrNoWorkspace), errors.As(err, new(*model.WorkspaceIDError)):
		return true
	}
	if ctx.Err() != nil {
		return false // the next one asks
	}
	b.place.asOf = time.Now().Add(lookAgain - time.Duration(resolvedFor.Load()))
	return false
}

// unresolved is the answer to an acquire whose workspace's database is not known, before
// anything is dialed.
func unresolved(id model.WorkspaceID, err error) error {
	if errors.As(err, new(*model.WorkspaceIDError)) || errors.Is(err, model.ErrClosed) {
		return fmt.Errorf("acquire: %w", err)
	}
	failed := unresolvedFailure(err)
	return &model.DialError{WorkspaceID: id, Kind: failed.kind, Err: failed}
}

// unresolvedFailure is the same for a dial. What the server says of the table is nothing
// that it says of the caller's statement.
func unresolvedFailure(err error) *dialFailure {
	if errors.As(err, new(*model.SQLError)) {
		err = errors.New(err.Error())
	}
	if errors.Is(err, model.ErrNoWorkspace) || errors.As(err, new(*model.WorkspaceIDError)) {
		return &dialFailure{kind: model.Permanent, err: err}
	}
	return &dialFailure{kind: model.Transient, err: err}
}

// system is the dialer's place of the system database.
func (m *Manager) system(context.Context, model.WorkspaceID) (place, error) {
	return place{database: m.config.SystemDatabase}, nil
}
