package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/cmd/figures"
	"github.com/tenantpool/tenantpool/model"
)

// live shows what goes on while it goes on: a row that is rewritten in place on a
// terminal, a new row now and then elsewhere.
type live struct {
	quit, ended chan struct{}
}

const (
	redrawEvery = 250 * time.Millisecond
	// Where nothing is rewritten: the first row soon, the others at leisure.
	firstRow = time.Second
	rowEvery = 3 * time.Second
)

// startLive shows the difference to before until stop.
func startLive(rec *recorder, st *demoStage, before model.Stats, con *console) *live {
	l := &live{quit: make(chan struct{}), ended: make(chan struct{})}
	first, every := firstRow, rowEvery
	if con.terminal != nil {
		first, every = redrawEvery, redrawEvery
	}
	con.println(liveHeader)
	began := time.Now()
	go func() {
		defer close(l.ended)
		var rate rate
		rate.add(0, 0)
		draw := func() {
			now, done := time.Since(began), rec.sofar()
			rate.add(now, done.requests)
			stats, err := st.manager.Stats(context.Background())
			if err != nil {
				return // the manager has ended; the summary says why
			}
			con.log(liveRow(now, rate.perSecond(), stats.Workspaces, before.Workspaces.Counters, done.failed()))
		}
		timer := time.NewTimer(first)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				draw()
				timer.Reset(every)
			case <-l.quit:
				draw() // the last word
				return
			}
		}
	}()
	return l
}

func (l *live) stop() {
	close(l.quit)
	<-l.ended
}

// The row is 77 characters wide, so that it fits a terminal of 80 even with the
// ^C that an interrupt writes there.
const (
	liveHeader = " time  req/s in use idle dialing closing waiting   hits  dials evicted errors"
	liveFormat = "%5s %6s %6d %4d %7d %7d %7d %6s %6s %7s %6s"
)

func liveRow(now time.Duration, rate float64, st model.BudgetStats, before model.Counters, failed uint64) string {
	c := st.Counters
	return fmt.Sprintf(liveFormat, figures.Clock(now), figures.Compact(uint64(rate)),
		st.InUse, st.Idle, st.Dialing, st.Closing, st.Waiting,
		figures.Compact(c.Hits-before.Hits), figures.Compact(c.Dials-before.Dials), figures.Compact(c.Evictions()-before.Evictions()),
		figures.Compact(failed))
}

// rate is the requests per second over about the last second.
type rate struct {
	at   [4]time.Duration
	done [4]uint64
	n    int
}

func (r *rate) add(at time.Duration, done uint64) {
	r.at[r.n%len(r.at)], r.done[r.n%len(r.done)] = at, done
	r.n++
}

func (r *rate) perSecond() float64 {
	last, first := (r.n-1)%len(r.at), r.n%len(r.at)
	if r.n <= len(r.at) {
		first = 0
	}
	over := r.at[last] - r.at[first]
	if over <= 0 {
		return 0
	}
	return float64(r.done[last]-r.done[first]) / over.Seconds()
}
