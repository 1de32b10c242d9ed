package web

import (
	"log/slog"
	"time"
)

// readyLog logs what becomes of /readyz. Balancers ask every few seconds, for as long as
// an outage lasts; so what is logged is that it began, a reminder a minute with how many
// were left out, and that it is over. Where it comes and goes, that is a pair a minute.
type readyLog struct {
	to *slog.Logger
	// turn holds the outage. Whoever has received it may read and change it, and sends
	// it back at once.
	turn chan unready
}

// unready is the time from a check that failed until the next that does not.
type unready struct {
	since      time.Time // zero: there is none
	told       bool      // its beginning, and so its end is to be told, too
	last       time.Time // when a failure was logged
	suppressed int       // since then
}

const remindEvery = time.Minute

func newReadyLog(to *slog.Logger) *readyLog {
	l := &readyLog{to, make(chan unready, 1)}
	l.turn <- unready{}
	return l
}

// notReady is told of each check that failed: which part, and why.
func (l *readyLog) notReady(part string, err error) {
	now, u := time.Now(), <-l.turn
	begins := u.since.IsZero()
	if begins {
		u.since = now
	}
	if !u.last.IsZero() && now.Sub(u.last) < remindEvery {
		u.suppressed++
		l.turn <- u
		return
	}
	log := l.to.With("part", part, "error", err.Error())
	if !begins {
		log = log.With("since", u.since.UTC().Format(time.RFC3339))
	}
	if u.suppressed > 0 {
		log = log.With("suppressed", u.suppressed)
	}
	u.told, u.last, u.suppressed = true, now, 0
	l.turn <- u
	log.Warn("Not ready")
}

// ready is told of each check that did not fail.
func (l *readyLog) ready() {
	u := <-l.turn
	over := u
	u.since, u.told = time.Time{}, false
	l.turn <- u
	if over.told {
		l.to.Info("Ready again", "took", time.Since(over.since).Round(time.Millisecond).String())
	}
}
