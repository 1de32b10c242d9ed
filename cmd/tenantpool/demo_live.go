package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

const (
	redrawEvery = 250 * time.Millisecond
	// Where nothing is rewritten: the first row soon, the others at leisure.
	firstRow = time.Second
	rowEvery = 3 * time.Second
)

// showLive shows what goes on, since before, until ctx is done: a row that is rewritten in
// place on a terminal, a new row now and then elsewhere.
func showLive(ctx context.Context, traffic *stage.Traffic, manager *pools.Manager, before model.Stats, con *stage.Console) {
	wait, every := firstRow, rowEvery
	if con.Rewrites() {
		wait, every = redrawEvery, redrawEvery
	}
	con.Printf(liveHeader)
	began := time.Now()
	var rate rate
	rate.add(0, 0)
	for ended := false; !ended; wait = every {
		stage.Pause(ctx, wait)
		ended = ctx.Err() != nil // this row is the last word
		now := time.Since(began)
		sent, failed := traffic.SoFar()
		rate.add(now, sent)
		stats, err := manager.Stats(context.Background())
		if err != nil {
			return // the manager has ended; the summary says why
		}
		con.Log(liveRow(now, rate.perSecond(), stats.Workspaces, before.Workspaces.Counters, failed))
	}
}

// The row is 77 characters wide, so that it fits a terminal of 80 even with the
// ^C that an interrupt writes there.
const (
	liveHeader = " time  req/s in use idle dialing closing waiting   hits  dials evicted errors"
	liveFormat = "%5s %6s %6d %4d %7d %7d %7d %6s %6s %7s %6s"
)

func liveRow(now time.Duration, rate float64, st model.BudgetStats, before model.Counters, failed uint64) string {
	c := st.Counters
	return fmt.Sprintf(liveFormat, clock(now), compact(uint64(rate)),
		st.InUse, st.Idle, st.Dialing, st.Closing, st.Waiting,
		compact(c.Hits-before.Hits), compact(c.Dials-before.Dials), compact(c.Evictions()-before.Evictions()),
		compact(failed))
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

// compact has at most 6 characters: 99,999 then 100k, 1.2M.
func compact(n uint64) string {
	switch {
	case n < 100_000:
		return stage.Grouped(n)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
}

// clock is 0:07, 12:34, 1:02:03.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
