package pools

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tenantpool/tenantpool/model"
)

// sparseLog logs warnings that a burst of requests can cause, so that logging
// does not make the burst worse: the first ones at once, then a few per second,
// each with how many were left out before it.
type sparseLog struct {
	to         *slog.Logger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func newSparseLog(to *slog.Logger) *sparseLog {
	return &sparseLog{to: to, limiter: rate.NewLimiter(rate.Every(200*time.Millisecond), 20)}
}

// warn asks for what there is to say, in pairs as slog has them, only if it logs: thousands of refusals in a second should
// not be made more expensive by their wording.
func (l *sparseLog) warn(message string, about func() []any) {
	if !l.limiter.Allow() {
		l.suppressed.Add(1)
		return
	}
	args := about()
	if n := l.suppressed.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	l.to.Warn(message, args...)
}

// dialLog logs what becomes of dials. While the server cannot be dialed each back-off
// ends in another failure, for hours; so what is logged is that it began, a reminder a
// minute with how many were left out, and that it is over. What concerns one database
// for good (model.Permanent) is no outage, and logged as it comes.
type dialLog struct {
	sparse *sparseLog
	// turn holds the outage. Whoever has received it may read and change it, and sends
	// it back at once.
	turn chan outage
}

// outage is the time from a failed dial until the next that succeeds.
type outage struct {
	since      time.Time // zero: there is none
	told       bool
	last       time.Time // when a failure was logged
	suppressed int       // since then
	// begins bounds the beginnings that are told: where some dials succeed and others
	// do not there are many.
	begins *rate.Limiter
}

const (
	remindEvery = time.Minute
	beginsKept  = 5
)

func newDialLog(to *slog.Logger) *dialLog {
	l := &dialLog{newSparseLog(to), make(chan outage, 1)}
	l.turn <- outage{begins: rate.NewLimiter(rate.Every(remindEvery), beginsKept)}
	return l
}

func (l *dialLog) failed(id model.WorkspaceID, failure *dialFailure) {
	about := func() []any {
		return []any{"workspace_id", id, "error", failure.Error(), "kind", failure.kind.String()}
	}
	const message = "Dial failed"
	if failure.kind == model.Permanent {
		l.sparse.warn(message, about)
		return
	}
	now, o := time.Now(), <-l.turn
	begins := o.since.IsZero()
	if begins {
		o.since, o.told = now, false
	}
	if (!begins || !o.begins.Allow()) && now.Sub(o.last) < remindEvery {
		o.suppressed++
		l.turn <- o
		return
	}
	args := about()
	if !begins {
		args = append(args, "since", o.since.UTC().Format(time.RFC3339))
	}
	if o.suppressed > 0 {
		args = append(args, "suppressed", o.suppressed)
	}
	o.told, o.last, o.suppressed = true, now, 0
	l.turn <- o
	l.sparse.to.Warn(message, args...)
}

func (l *dialLog) succeeded() {
	o := <-l.turn
	over := o
	o.since = time.Time{}
	if over.told {
		o.told, o.suppressed = false, 0
	}
	l.turn <- o
	if over.told {
		l.sparse.to.Info("Dials succeed again",
			"took", time.Since(over.since).Round(time.Millisecond).String(), "suppressed", over.suppressed)
	}
}
