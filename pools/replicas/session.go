package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pool is what a replica holds to its limit. Its methods are called by one goroutine, and
// must not wait for connections.
type Pool interface {
	// Limit sets how many connections may be open, those being dialed and closed included.
	// What is beyond it closes at once if it is idle, or else when it comes free.
	Limit(n int)
	// Use is how many are open, how many there is a use for, and how many of them have an
	// application_name of their own.
	Use() (open, wants, renamed int)
}

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
	// Connect opens a control session.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Log is told what people should know; nil: nothing.
	Log *slog.Logger
	// Every is how often the replica looks at its row (0: 250 ms).
	Every time.Duration
}

// settleMore is how much longer than MaxDial a dial of a replica that is gone is waited for.
const settleMore = time.Second

// Session is one replica's part in the group. One goroutine owns the control session.
type Session struct {
	options Options
	pool    Pool
	permits chan chan permit
	leaving chan context.Context
	left    chan error
	done    chan struct{}
	// abandoned is for tests.
	abandoned chan struct{}

	// Only the goroutine touches what follows.
	store    Store
	member   Member
	said     needs
	tried    int       // decisions since the last that changed something
	decideAt time.Time // not before
	retry    time.Duration
	silent   bool // the loss was logged
}

// needs is what the row says the replica needs.
type needs struct {
	wants, renamed int
	draining       bool
}

type permit struct {
	until time.Time
	err   error
}

// ErrNoControlSession is why nothing may be dialed.
var ErrNoControlSession = errors.New("there is no control session to ask whether another connection fits the shared budget")

// ErrFull is why a connection may not be dialed now: the limit was lowered meanwhile.
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
		permits: make(chan chan permit), leaving: make(chan context.Context), left: make(chan error, 1), done: make(chan struct{}), abandoned: make(chan struct{}),
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
	s.said, s.decideAt = needs{}, time.Time{}
	return nil
}

func (s *Session) register(ctx context.Context) error {
	g, err := s.store.Found(ctx, s.options.Budget, s.options.Floor)
	if err != nil {
		return err
	}
	if g.Budget != s.options.Budget || g.Floor != s.options.Floor {
		s.options.Log.Warn("The group has another budget than this replica's configuration says: the group's holds",
			"group", s.options.Group, "budget", g.Budget, "floor", g.Floor, "configured_budget", s.options.Budget, "configured_floor", s.options.Floor)
	}
	for {
		v, version, _, err := s.store.View(ctx)
		if err != nil {
			return err
		}
		known := false
		for _, r := range v.Replicas {
			known = known || r.ID == s.options.ID
		}
		if !known {
			if err := v.Fits(len(v.Replicas) + 1); err != nil {
				return err
			}
			if !v.Admits() { // the reserve is used; it is refilled before anything else
				if err := pause(ctx, s.options.Every); err != nil {
					return err
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
	every := time.NewTicker(s.options.Every)
	defer every.Stop()
	var leave context.Context // not nil: it has begun
	s.look(false)             // Join's caller waits for its floor
	for {
		var left <-chan struct{}
		if leave != nil {
			left = leave.Done()
		}
		select {
		case first := <-s.permits:
			s.answer(first)
		case <-s.abandoned:
			_ = s.store.Conn.PgConn().Conn().Close()
			return
		case leave = <-s.leaving:
		case <-left:
		case <-every.C:
			s.look(leave != nil)
		}
		if leave == nil {
			continue
		}
		if open, _, _ := s.pool.Use(); open == 0 || leave.Err() != nil {
			s.left <- s.leave(open)
			return
		}
	}
}

// leave ends the control session, and deletes the row if nothing is open.
func (s *Session) leave(open int) error {
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	s.pool.Limit(0)
	if s.store.Conn == nil {
		return ErrNoControlSession
	}
	var err error
	if open == 0 {
		err = s.store.Leave(ctx, s.options.ID)
	}
	return errors.Join(err, s.store.Conn.Close(ctx))
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
	err := s.read()
	open, _, _ := s.pool.Use() // those that ask are dialing
	beyond := open - s.member.Limit()
	for i, each := range waiting {
		p := permit{until: began.Add(s.options.MaxDial), err: err}
		if err == nil && i < beyond {
			p.err = ErrFull
		}
		each <- p
	}
}

// try runs one statement of the control session. An error that is not about the statement
// ends the session.
func (s *Session) try(do func(ctx context.Context) error) error {
	if s.store.Conn == nil {
		return ErrNoControlSession
	}
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	err := do(ctx)
	if err == nil || errors.Is(err, ErrOutdated) {
		return err
	}
	_ = s.store.Conn.Close(ctx)
	s.store.Conn = nil
	open, _, _ := s.pool.Use()
	s.member.Lost(open)
	s.pool.Limit(s.member.Limit())
	if !s.silent {
		s.options.Log.Warn("The control session is lost: nothing is dialed until there is another", "group", s.options.Group, "error", err.Error())
		s.silent = true
	}
	return fmt.Errorf("%w (%s)", ErrNoControlSession, err.Error())
}

// read takes in the row.
func (s *Session) read() error {
	return s.try(func(ctx context.Context) error {
		row, err := s.store.Row(ctx, s.options.ID)
		if err != nil {
			return err
		}
		s.member.Read(row)
		s.pool.Limit(s.member.Limit())
		return nil
	})
}

// look does what is to be done every now and then.
func (s *Session) look(draining bool) {
	if s.store.Conn == nil && !s.reconnect() {
		return
	}
	if s.read() != nil {
		return
	}
	open, wants, renamed := s.pool.Use()
	if promised, seq, due := s.member.Report(open); due {
		s.decideAt = time.Time{} // somebody waits for it
		if s.try(func(ctx context.Context) error { return s.store.Report(ctx, s.options.ID, seq, promised) }) != nil {
			return
		}
	}
	if now := (needs{wants, renamed, draining}); now != s.said {
		if wants > s.said.wants {
			s.decideAt = time.Time{}
		}
		if s.try(func(ctx context.Context) error { return s.store.Needs(ctx, s.options.ID, wants, renamed, draining) }) != nil {
			return
		}
		s.said = now
	}
	if time.Now().Before(s.decideAt) {
		return
	}
	s.decide(wants > s.member.Limit())
}

// decide makes a decision, and says when the next one is due: soon while something is
// needed and decisions help, else in about a second.
func (s *Session) decide(needy bool) {
	changed := false
	err := s.try(func(ctx context.Context) error {
		v, version, now, err := s.store.View(ctx)
		if err != nil {
			return err
		}
		decision := Step(now, v)
		changed = len(decision) > 0
		if !changed {
			return nil
		}
		return s.store.Decide(ctx, version, decision)
	})
	wait := time.Second/2 + rand.N(time.Second)
	if changed || needy && s.tried < 3 || errors.Is(err, ErrOutdated) {
		wait = 0
	}
	if s.tried++; changed {
		s.tried = 0
		if s.read() != nil {
			return
		}
	}
	s.decideAt = time.Now().Add(wait)
}

// reconnect opens another control session, with pauses that grow to a second.
func (s *Session) reconnect() bool {
	if time.Now().Before(s.decideAt) {
		return false
	}
	ctx, stop := context.WithTimeout(context.Background(), roundTrip)
	defer stop()
	if err := s.connect(ctx); err != nil {
		s.store.Conn = nil
		s.retry = min(max(2*s.retry, 50*time.Millisecond), time.Second)
		s.decideAt = time.Now().Add(s.retry/2 + rand.N(s.retry))
		return false
	}
	s.retry = 0
	if s.silent {
		s.options.Log.Info("There is a control session again", "group", s.options.Group)
		s.silent = false
	}
	return true
}
