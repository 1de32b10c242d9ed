package door

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools"
)

// watchWaitsAfter is how long an acquire takes before the client is watched meanwhile.
const watchWaitsAfter = 20 * time.Millisecond

// needLease has the session have a connection.
func (s *session) needLease() *pgproto3.ErrorResponse {
	if s.lease != nil {
		s.lease.used = true
		s.me.enter(clientActive)
		return nil
	}
	if until := s.in.grant.Until; !until.IsZero() && time.Now().After(until) {
		return fatal(pgerrcode.InvalidAuthorizationSpecification, fmt.Sprintf("the credential of user %q has ended; connect again with a new one", s.in.user))
	}
	began := time.Now()
	wire := s.door.manager.SeatedWire(context.Background(), s.id)
	if wire == nil {
		var refused *pgproto3.ErrorResponse
		if wire, refused = s.wait(); refused != nil {
			return refused
		}
	}
	now := time.Now()
	s.me.place.waitTime.Add(int64(now.Sub(began)))
	l := &lease{wire: wire, began: now, status: statusIdle, used: true}
	l.remembered()
	if err := s.restore(l); err != nil {
		wire.Release(l.quiet() && !l.broken && l.status == statusIdle, true)
		return err
	}
	s.lease = l
	s.me.server.Store(wire.PID())
	s.me.enter(clientActive)
	s.gate.open(wire)
	return nil
}

// wait is for a connection that is not there at once. The client hears that it waits, and
// one that goes away meanwhile waits no longer.
func (s *session) wait() (*pools.Wire, *pgproto3.ErrorResponse) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	s.me.enter(clientWaiting)
	defer s.me.enter(clientIdle)
	watched := make(chan struct{})
	watch := time.AfterFunc(watchWaitsAfter, func() {
		defer close(watched)
		s.watch(ctx, cancel)
	})
	wire, err := s.door.manager.AcquireWire(ctx, s.id)
	if !watch.Stop() {
		cancel(nil)
		_ = s.in.SetReadDeadline(time.Now())
		<-watched
		_ = s.in.SetReadDeadline(time.Time{})
	}
	if err == nil {
		return wire, nil
	}
	if why := s.me.ending.Load(); why != nil && errors.Is(err, context.Canceled) {
		return nil, why
	}
	return nil, acquireRefusal(err)
}

// watch reads what the client sends while it waits, as far as there is room for it.
func (s *session) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	notice := time.Now().Add(s.door.options.NoticeAfter - watchWaitsAfter)
	if s.door.options.NoticeAfter < 0 {
		notice = time.Time{}
	}
	for ctx.Err() == nil {
		_ = s.in.SetReadDeadline(notice)
		if ctx.Err() != nil {
			return // or the deadline that ends this has just been undone
		}
		var err error
		if s.from.buf == nil || s.from.w < len(s.from.buf) {
			err = s.from.fill(s.stream, 0)
		} else { // the client is ahead of us: it is told, and not read
			err = sleepUntil(ctx, notice)
		}
		switch {
		case ctx.Err() != nil:
		case s.me.ending.Load() != nil:
			cancel(context.Canceled)
		case err == nil:
		case !notice.IsZero() && !time.Now().Before(notice):
			_ = s.write(encoded(&pgproto3.NoticeResponse{
				Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: pgerrcode.SuccessfulCompletion,
				Message: fmt.Sprintf("waiting for a connection to workspace %q", s.id),
			}))
			notice = time.Time{}
		case !pools.TimedOut(err):
			cancel(err) // it is gone
		}
	}
}

// sleepUntil is a read with a deadline of which nothing comes.
func sleepUntil(ctx context.Context, deadline time.Time) error {
	if !deadline.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, deadline)
		defer stop()
	}
	<-ctx.Done()
	return os.ErrDeadlineExceeded
}

// restore makes the session on the server the client's: with its settings, which those of
// another one may be in place of.
func (s *session) restore(l *lease) *pgproto3.ErrorResponse {
	if l.memory.applied != s.wanted {
		if sql := s.wanted.replay(l.memory.applied); sql != "" {
			s.me.place.replays.Add(1)
			if _, err := l.ask(sql); err != nil {
				return settingsRefusal(err)
			}
		}
		l.memory.applied = s.wanted
	}
	return s.tellReported(l)
}

// tellReported tells the client which of the settings that it knows are others here.
func (s *session) tellReported(l *lease) *pgproto3.ErrorResponse {
	if s.reported == nil { // it has not begun
		s.reported = l.memory.reported
		return nil
	}
	var news []byte
	for _, p := range l.memory.reported.differingFrom(s.reported) {
		if p.name == applicationName && s.door.introduces { // the client has been told its own
			continue
		}
		news = appendParameter(news, p)
	}
	s.reported = l.memory.reported
	if news != nil && s.write(news) != nil {
		return fatal(pgerrcode.ConnectionFailure, "the client is gone")
	}
	return nil
}

// tidy finds out, at the end of a transaction, what its statements have left in the server
// session: settings go with the client, what cannot be carried over keeps it its connection,
// and the rest is undone. An error says that the server has failed.
func (s *session) tidy() error {
	l := s.lease
	s.reported = l.memory.reported
	left := l.effects
	l.effects = 0
	l.kept |= left & (unknown | spoils)
	if left&sets != 0 {
		if err := s.learnSettings(l); err != nil {
			return err
		}
		if refused := s.restore(l); refused != nil {
			return s.fatal(refused)
		}
	}
	if s.pooling == SessionPooling {
		s.listening = s.listening || left&listens != 0
		return nil
	}
	if left&(pins|unpins) != 0 {
		rows, err := l.ask(askLeftovers)
		if err != nil {
			return err
		}
		s.pinned, s.listening = leftoversOf(rows)
	}
	if s.pinned {
		return nil
	}
	l.spoiled = l.spoiled || l.kept&spoils != 0
	if l.kept&unknown != 0 {
		s.me.place.resets.Add(1)
		if err := l.reset(); err != nil {
			l.spoiled = true // as with statements of PREPARE, which a reset leaves
			if l.broken {
				return err
			}
		}
	}
	return nil
}

// release gives the connection back. quiet: it can be used again.
func (s *session) release(quiet bool) {
	l := s.lease
	if s.gate.close() && quiet { // somebody has cancelled something on it
		// PostgreSQL before 17 signals a process twice for one request, and what comes late
		// hits this instead of another client's statement.
		_, _ = l.ask("")
		quiet = !l.broken && l.quiet()
	}
	l.in.Rest()
	quiet = quiet && l.in.len() == 0 && l.in.passing == 0
	s.me.place.leaseTime.Add(int64(time.Since(l.began)))
	s.me.server.Store(0)
	s.me.enter(clientIdle)
	s.pinned, s.listening = false, false
	s.lease = nil
	l.wire.Release(quiet && !l.spoiled, l.memory.applied != nil)
}
