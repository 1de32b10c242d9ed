package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Shop is what a workspace's database has for Traffic.
var Shop = []string{`CREATE TABLE orders (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	item       text NOT NULL,
	quantity   int NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
)`}

// Traffic sends requests as a web application would, from many workers.
type Traffic struct {
	manager    *pools.Manager
	psql       *Psql // who sends the requests; nil: this process
	stage      *Stage
	popularity Popularity

	outcomes     chan outcome
	counted      chan Tally // when all outcomes were counted
	sent, failed atomic.Uint64
}

// Tally is what all requests together have come to.
type Tally struct {
	Requests, OK uint64
	Failures     // the others
	// Request is how long the requests took that went well; Acquire, how long the
	// acquires that got a connection.
	Request, Acquire Histogram
}

// Failed counts what should not have been.
func (t Tally) Failed() uint64 { return t.Total() - t.Errors[Cancelled] }

// Add counts those of another one, too.
func (t *Tally) Add(other Tally) {
	t.Requests += other.Requests
	t.OK += other.OK
	t.Failures.Add(other.Failures)
	t.Request.merge(other.Request)
	t.Acquire.merge(other.Acquire)
}

// NewTally is of no requests.
func NewTally() Tally {
	return Tally{Failures: NewFailures(), Request: NewHistogram(), Acquire: NewHistogram()}
}

// outcome is how one request went.
type outcome struct {
	lent     bool          // it got a connection
	acquired time.Duration // how long that took
	took     time.Duration
	kind     string // empty: ok
	err      error
}

// NewTraffic is traffic of which the k-th workspace has a share proportional to
// 1/k^zipf.
func NewTraffic(manager *pools.Manager, s *Stage, zipf float64) *Traffic {
	return &Traffic{
		manager: manager, stage: s, popularity: NewPopularity(len(s.Workspaces), zipf),
		outcomes: make(chan outcome, 1024), counted: make(chan Tally, 1),
	}
}

// Run blocks until ctx is done and the requests then under way have come to
// their own end. It can be called once.
func (t *Traffic) Run(ctx context.Context, workers int) Tally {
	go t.count()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() { t.work(ctx, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))) })
	}
	all.Wait()
	close(t.outcomes)
	return <-t.counted
}

// SoFar is how many requests have ended, and how many of them should not have as they
// did.
func (t *Traffic) SoFar() (sent, failed uint64) { return t.sent.Load(), t.failed.Load() }

// count owns the tally, because there are too many workers to give each a histogram
// of its own.
func (t *Traffic) count() {
	tally := NewTally()
	for o := range t.outcomes {
		tally.add(o)
		t.sent.Store(tally.Requests)
		t.failed.Store(tally.Failed())
	}
	t.counted <- tally
}

func (t *Tally) add(o outcome) {
	t.Requests++
	if o.lent {
		t.Acquire.Add(o.acquired)
	}
	if o.kind == "" {
		t.OK++
		t.Request.Add(o.took)
		return
	}
	t.Note(o.kind, o.err)
}

const (
	requestTimeout = 30 * time.Second
	// afterFailure: what fails at once should not fail all the faster.
	afterFailure = 50 * time.Millisecond
)

// work is one worker: one request after the other.
func (t *Traffic) work(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		// The end of the traffic is no reason to fail a request.
		o := t.request(context.WithoutCancel(ctx), t.popularity.Pick(rng), rng)
		if errors.Is(o.err, model.ErrClosed) {
			return // an operator has drained the manager
		}
		t.outcomes <- o
		if o.kind != "" && o.kind != Cancelled {
			Pause(ctx, afterFailure)
		}
	}
}

// request serves one request as a web handler would: acquire, work, release. The
// connection says itself which database it reaches.
func (t *Traffic) request(ctx context.Context, workspace int, rng *rand.Rand) (o outcome) {
	if t.psql != nil {
		return t.psql.request(ctx, t.stage.Workspaces[workspace], t.stage.Databases[workspace])
	}
	began := time.Now()
	ctx, end := context.WithTimeout(ctx, requestTimeout)
	defer end()
	h := pickHandler(rng)
	conn, err := t.manager.Acquire(ctx, t.stage.Workspaces[workspace])
	if err == nil {
		o.lent, o.acquired = true, time.Since(began)
		var database string
		err = conn.QueryRow(ctx, "SELECT current_database()").Scan(&database)
		if err == nil && database != t.stage.Databases[workspace] {
			err = fmt.Errorf("%w: it is %q", ErrWrongWorkspace, database)
		}
		if err == nil {
			err = h.serve(ctx, conn, rng)
		}
		conn.Release()
	}
	o.took = time.Since(began)
	if err != nil {
		o.kind = KindOf(err)
		if o.lent && h.cancels && (o.kind == pgerrcode.QueryCanceled || o.kind == OtherFailure && errors.Is(err, context.Canceled)) {
			o.kind = Cancelled
		}
		o.err = fmt.Errorf("%s in workspace %q: %w", h.name, t.stage.Workspaces[workspace], err)
	}
	return o
}

// handler is one kind of request.
type handler struct {
	name string
	// weight is how many in a thousand requests are of this kind.
	weight int
	serve  func(context.Context, *pools.Conn, *rand.Rand) error
	// cancels: its context is cancelled on the way, and it must fail with that.
	cancels bool
}

var handlers = []handler{
	{name: "browse", weight: 400, serve: browse},
	{name: "order", weight: 349, serve: order},
	{name: "check out", weight: 200, serve: checkOut},
	{name: "give up", weight: 25, serve: giveUp, cancels: true},
	{name: "give up in a transaction", weight: 25, serve: giveUpInTransaction, cancels: true},
	{name: "archive", weight: 1, serve: archive},
}

func pickHandler(rng *rand.Rand) handler {
	n := rng.IntN(1000)
	for _, h := range handlers {
		if n -= h.weight; n < 0 {
			return h
		}
	}
	panic("the handlers' weights are less than 1000 together")
}

var items = []string{"apples", "bread", "coffee", "dates", "eggs", "flour", "grapes", "honey"}

const insertOrder = "INSERT INTO orders (item, quantity) VALUES ($1, $2) RETURNING id"

// browse reads a few rows.
func browse(ctx context.Context, conn *pools.Conn, _ *rand.Rand) error {
	rows, err := conn.Query(ctx, "SELECT id, item, quantity FROM orders ORDER BY id DESC LIMIT 10")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var item string
		var quantity int
		if err := rows.Scan(&id, &item, &quantity); err != nil {
			return err
		}
	}
	return rows.Err()
}

// order writes a row and adds up the last ones, of which there may be none: an
// archive may come in between.
func order(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	var id, quantity int64
	if err := conn.QueryRow(ctx, insertOrder, items[rng.IntN(len(items))], 1+rng.IntN(9)).Scan(&id); err != nil {
		return err
	}
	const lately = "SELECT coalesce(sum(quantity), 0) FROM orders WHERE id > $1 - 50"
	return conn.QueryRow(ctx, lately, id).Scan(&quantity)
}

// checkOut reads and writes in a transaction.
func checkOut(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // does nothing after Commit
	var id int64
	if err := tx.QueryRow(ctx, insertOrder, "basket", 1+rng.IntN(9)).Scan(&id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE orders SET quantity = quantity + 1 WHERE id = $1", id); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// giveUp is a request whose client goes away in the middle of a slow query.
func giveUp(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cancelSoon(cancel, rng)
	_, err := conn.Exec(ctx, slowQuery)
	return err
}

// giveUpInTransaction leaves a transaction as most handlers do: with a Rollback
// in a context that is done, which costs the connection.
func giveUpInTransaction(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, insertOrder, "nothing", 0); err != nil {
		return err
	}
	cancelSoon(cancel, rng)
	_, err = tx.Exec(ctx, slowQuery)
	return err
}

// slowQuery sleeps much longer than cancelSoon leaves it.
const slowQuery = "SELECT pg_sleep(10)"

func cancelSoon(cancel context.CancelFunc, rng *rand.Rand) {
	time.AfterFunc(time.Duration(1+rng.IntN(9))*time.Millisecond, cancel)
}

// archive keeps the table small in traffic that goes on for hours: there is no
// vacuum.
func archive(ctx context.Context, conn *pools.Conn, _ *rand.Rand) error {
	_, err := conn.Exec(ctx, "TRUNCATE orders")
	return err
}
