package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// Pool is what a replica holds to its limit. Its methods are called by one goroutine, and
// must not wait for connections.
type Pool interface {
	// Hold tells what the replica has of the group's budget. What is open beyond the limit
	// closes at once if it is idle, or else when it comes free.
	Hold(p Part)
	// Use is what the connections are doing.
	Use() Use
}

// Part is what a replica has of the group's budget.
type Part struct {
	// Limit is how many connections may be open, those being dialed and closed included.
	Limit int
	// Budget and Floor are the group's.
	Budget, Floor int
	// Connected: there is a control session.
	Connected bool
}

// Use is what a replica's connections are doing: how many are open, those being dialed and
// closed included; how many there is a use for; how many of them are lent, and how many
// acquires wait. The last two are for people.
type Use struct{ Open, Wants, InUse, Waiting int }

// Options are those of Join.
type Options struct {
	// Group is the name under which the replicas find each other, Budget and Floor what the
	// first of them gives it.
	Group         string
	Budget, Floor int
	// ID is the process's alone, and never used again. Label is for people.
	ID, Label string
	// ApplicationName is that of the replica's connections.
	ApplicationName string
	// MaxDialing is how many dials may be under way, MaxDial how long one may take from the
	// permit on.
	MaxDialing int
	MaxDial    time.Duration
	// Connect opens a control session. Its application_name must be this replica's alone.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Log is told what people should know; nil: nothing.
	Log *slog.Logger
	// Every is how often the replica looks at its row (0: 250 ms) in a small group; see
	// pace.
	Every time.Duration
}

// settleMore is how much longer than MaxDial a dial of a replica that is gone is waited for.
const settleMore = time.Second

// Session is one replica's part in the group. One goroutine owns the control session.
type Session struct {
	options Options
	pool    Pool
	permits chan chan permit
	asked   chan question
	leaving chan context.Context
	left    chan error
	done    chan struct{}

	// Only the goroutine touches what follows.
	store  Store
	member Member
	group  Group
	said   said
	saidAt time.Time
	// size is how many replicas the group had when it was viewed last.
	size   int
	viewed time.Time
	// undecided: there is something that nobody may have decided about yet.
	undecided bool
	// hurry is until when it looks more often: somebody waits for what it will read or
	// report next.
	hurry  time.Time
	retry  time.Duration
	again  time.Time // when to try to connect again
	silent bool      // the loss was logged
	// since is when the session began. One that is lost soon after that is no more than an
	// attempt: what fails in each session would otherwise end sessions, and be logged, all
	// the time.
	since time.Time
	// warned is when a loss was logged last, and complained that there is no other session.
	warned, complained time.Time
}

// said is what the row says of the replica.
type said struct {
	Use
	draining bool
}

type permit struct {
	until time.Time
	err   error
}

// question is something to do on the control session.
type question struct {
	do   func(ctx context.Context, s *Store) error
	done chan error // has room for the answer
}

// ErrNoControlSession is why nothing may be dialed.
var ErrNoControlSession = errors.New("there is no control session to ask whether another connection fits the shared budget")

// ErrFull is why a connection may not be dialed now: the replica has lost its session, and
// then a part of what it was promised.
var ErrFull = errors.New("the replica has as many connections as it may")

// Join makes the process a replica of the group. It returns when the control session is
// there; the limit is 0 until a decision raises it.
func Join(ctx context.Context, o Options, pool Pool) (*Session, error) {
	if o.Every == 0 {
		o.Every = 250 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		options: o, pool: pool,
		permits: make(chan chan permit), asked: make(chan question), leaving: make(chan context.Context), left: make(chan error, 1), done: make(chan struct{}),
		store: Store{Group: o.Group, MaxDialing: o.MaxDialing, Settle: o.MaxDial + settleMore},
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// Permit waits for a round trip on the control session that began after the call (rule 3).
// The dial must end by the time that it returns.
func (s *Session) Permit(ctx context.Context) (until time.Time, err error) {
	answer := make(chan permit, 1)
	select {
	case s.permits <- answer:
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-s.done:
		return time.Time{}, ErrNoControlSession
	}
	select {
	case p := <-answer:
		return p.until, p.err
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// Show is the group as people see it. It blocks for a few round trips, or until ctx is done.
func (s *Session) Show(ctx context.Context) (b model.SharedBudget, err error) {
	err = s.ask(ctx, func(ctx context.Context, store *Store) error {
		var err error
		b, err = store.Show(ctx, s.options.ID)
		return err
	})
	return b, err
}

// SetBudget changes the group's budget, for all replicas. It is refused with a
// *BudgetError if the replicas that there are do not fit. It blocks as Show does.
func (s *Session) SetBudget(ctx context.Context, budget int) error {
	return s.ask(ctx, func(ctx context.Context, store *Store) error { return store.SetBudget(ctx, budget) })
}

// HoldAgain has the pool told again what it has, by the goroutine that does so.
func (s *Session) HoldAgain(ctx context.Context) error {
	return s.ask(ctx, func(context.Context, *Store) error {
		s.hold()
		return nil
	})
}

// ask has it done on the control session, by the goroutine that owns that.
func (s *Session) ask(ctx context.Context, do func(context.Context, *Store) error) error {
	q := question{do: do, done: make(chan error, 1)}
	select {
	case s.asked <- q:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrNoControlSession
	}
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done(): // it is done all the same
		return ctx.Err()
	}
}

// Leave takes the replica out of the group, once nothing is open any more or ctx is done;
// then the others wait for what the server shows. It is called once.
func (s *Session) Leave(ctx context.Context) error {
	s.leaving <- ctx
	<-s.done
	return <-s.left
}

// connect opens a control session and registers.
func (s *Session) connect(ctx context.Context) error {
	conn, err := s.options.Connect(ctx)
	if err != nil {
		return fmt.Errorf("open the control session: %w", err)
	}
	s.store.Conn = conn
	if err := s.register(ctx); err != nil {
		_ = conn.Close(ctx)
		return fmt.Errorf("register in the group %q: %w", s.options.Group, err)
	}
	s.since = time.Now()
	s.said, s.saidAt, s.hurry = said{}, time.Time{}, s.since.Add(hurryFor)
	return nil
}

func (s *Session) register(ctx context.Context) error {
	g, err := s.store.Found(ctx, s.options.Budget, s.options.Floor)
	if err != nil {
		return err
	}
	s.group = g
	if g.Budget != s.options.Budget || g.Floor != s.options.Floor {
		s.options.Log.Warn("The group has another budget than this replica's configuration says: the group's holds",
			"group", s.options.Group, "budget", g.Budget, "floor", g.Floor, "configured_budget", s.options.Budget, "configured_floor", s.options.Floor)
	}
	for {
		v, version, now, err := s.store.View(ctx)
		if err != nil {
			return err
		}
		s.size, s.viewed = len(v.Replicas)+1, time.Now()
		known, present := false, 0
		for _, r := range v.Replicas {
			known = known || r.ID == s.options.ID
			if r.Present {
				present++
			}
		}
		if !known {
			if err := v.Fits(present + 1); err != nil {
				return err
			}
			// Those that are gone keep their places for a while, and another newcomer may have
			// the reserve. There may be nobody else to decide.
			if v.Fits(len(v.Replicas)+1) != nil || !v.Admits() {
				if decision := Step(now, v); len(decision) > 0 {
					if err := s.store.Decide(ctx, version, decision); err != nil && !errors.Is(err, ErrOutdated) {
						return err
					}
				}
				if err := pause(ctx, s.options.Every); err != nil {
					return fmt.Errorf("wait for a place that is free: %w", err)
				}
				continue
			}
		}
		seq, promised, err := s.store.Register(ctx, version, s.options.ID, s.options.Label, s.options.ApplicationName)
		if errors.Is(err, ErrOutdated) {
			continue
		}
		if err == nil {
			s.member.Registered(seq, promised)
		}
		return err
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) run() {
	defer close(s.done)
	next := time.NewTimer(0) // Join's caller waits for its floor
	defer next.Stop()
	var leave context.Context // not nil: it has begun
	for {
		var left <-chan struct{}
		if leave != nil {
			left = leave.Done()
		}
		select {
		case first := <-s.permits:
			s.answer(first)
		case q := <-s.asked:
			q.done <- s.try(func(ctx context.Context) error { return q.do(ctx, &s.store) })
		case leave = <-s.leaving:
		case <-left:
		case <-next.C:
			s.look(leave != nil)
			pause := s.pace()
			if time.Now().Before(s.hurry) || leave != nil {
				pause = s.fast()
			}
			next.Reset(pause)
		}
		if leave == nil {
			continue
		}
		if open := s.pool.Use().Open; open == 0 || leave.Err() != nil {
			s.left <- s.leave(open)
			return
		}
	}
}

// leave ends the control session, and deletes the row if nothing is open. What it had is
// divided by the next who looks at the group.
func (s *Session) leave(open int) error {
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	s.pool.Hold(Part{Budget: s.group.Budget, Floor: s.group.Floor})
	if s.store.Conn == nil {
		return nil // the others find out
	}
	var err error
	if open == 0 {
		err = s.store.Leave(ctx, s.options.ID)
	}
	return errors.Join(err, end(ctx, s.store.Conn))
}

// end ends the session, and waits until the server has let go of its slot: at the end of
// file.
func end(ctx context.Context, conn *pgx.Conn) error {
	hijacked, err := conn.PgConn().Hijack()
	if err != nil { // it has ended
		return conn.Close(ctx)
	}
	raw := hijacked.Conn
	defer func() { _ = raw.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(deadline)
	}
	hijacked.Frontend.Send(&pgproto3.Terminate{})
	if err := hijacked.Frontend.Flush(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("wait for the end of the control session: %w", err)
	}
	return nil
}

// roundTrip bounds one statement of the control session.
const roundTrip = 2 * time.Second

// answer answers the permits that wait, all with one round trip.
func (s *Session) answer(first chan permit) {
	waiting := []chan permit{first}
	for more := true; more; {
		select {
		case next := <-s.permits:
			waiting = append(waiting, next)
		default:
			more = false
		}
	}
	began := time.Now()
	_, err := s.read()
	beyond := s.member.Beyond(s.pool.Use().Open) // those that ask are dialing
	for i, each := range waiting {
		p := permit{until: began.Add(s.options.MaxDial), err: err}
		if err == nil && i < beyond {
			p.err = ErrFull
		}
		each <- p
	}
}

// try does something on the control session. An error that is not about what was asked ends
// the session.
func (s *Session) try(do func(ctx context.Context) error) error {
	if s.store.Conn == nil {
		return ErrNoControlSession
	}
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	err := do(ctx)
	var small *BudgetError
	if err == nil || errors.Is(err, ErrOutdated) || errors.As(err, &small) {
		return err
	}
	_ = s.store.Conn.Close(ctx)
	s.store.Conn = nil
	s.member.Lost(s.pool.Use().Open)
	s.hold()
	if time.Since(s.since) >= steady {
		s.retry, s.warned = 0, time.Time{}
	} else {
		s.later()
	}
	if time.Since(s.warned) >= complainEvery {
		s.options.Log.Warn("The control session is lost: nothing is dialed until there is another", "group", s.options.Group, "error", err.Error())
		s.silent, s.warned = true, time.Now()
	}
	return fmt.Errorf("%w (%s)", ErrNoControlSession, err.Error())
}

// hold tells the pool what it has.
func (s *Session) hold() {
	s.pool.Hold(Part{Limit: s.member.Limit(), Budget: s.group.Budget, Floor: s.group.Floor, Connected: s.store.Conn != nil})
}

const (
	// complainEvery is how often it says why it has no control session.
	complainEvery = time.Minute
	// steady is how old a session is whose loss is news.
	steady = 5 * time.Second
)

// later puts off the next attempt.
func (s *Session) later() {
	s.retry = min(max(2*s.retry, 50*time.Millisecond), time.Second)
	s.again = time.Now().Add(s.retry/2 + rand.N(s.retry))
}

// reconnect opens another control session, with pauses that grow to a second.
func (s *Session) reconnect() bool {
	if time.Now().Before(s.again) {
		return false
	}
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	if err := s.connect(ctx); err != nil {
		s.store.Conn = nil
		s.later()
		if time.Since(s.complained) >= complainEvery {
			s.options.Log.Warn("There is no other control session yet", "group", s.options.Group, "error", err.Error())
			s.complained = time.Now()
		}
		return false
	}
	s.complained = time.Time{}
	if s.silent {
		s.options.Log.Info("There is a control session again", "group", s.options.Group)
		s.silent = false
	}
	return true
}
