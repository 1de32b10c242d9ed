package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// workers send requests, one after the other each.
const workers = 24

// traffic is requests from many workers, and what came of them.
type traffic struct {
	manager *pools.Manager
	work    func(context.Context, *pools.Conn) error
	ending  chan struct{}
	wg      sync.WaitGroup

	succeeded atomic.Int64
	lock      sync.Mutex
	counted   tally
}

// tally is what requests came to. A test's may have a lock.
type tally struct {
	requests, failed int
	causes           map[cause]int
	// longest is the longest request, overrun the most that one took beyond its
	// deadline.
	longest, overrun time.Duration
	lastFailure      time.Time
	wrong            int
	// bad are errors that no fault excuses.
	bad []error
}

func startTraffic(m *pools.Manager, work func(context.Context, *pools.Conn) error) *traffic {
	tr := &traffic{manager: m, work: work, ending: make(chan struct{})}
	tr.restartTally()
	for range workers {
		tr.wg.Go(tr.send)
	}
	return tr
}

// restartTally forgets what was counted, but for what must never be.
func (tr *traffic) restartTally() {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	tr.counted = tally{causes: map[cause]int{}, wrong: tr.counted.wrong, bad: tr.counted.bad}
}

func (tr *traffic) send() {
	for {
		select {
		case <-tr.ending:
			return
		default:
		}
		i := rand.IntN(workspaces)
		if rand.IntN(4) == 0 {
			i = victim
		}
		within := requestTime
		if rand.IntN(30) == 0 {
			within = impatience
		}
		began := time.Now()
		ctx, stop := context.WithTimeout(context.Background(), within)
		err := request(ctx, tr.manager, i, tr.work)
		stop()
		tr.note(began, within, err)
		if err != nil {
			<-time.After(5 * time.Millisecond) // a client does not come back in the same moment
		}
	}
}

func (tr *traffic) note(began time.Time, within time.Duration, err error) {
	took := time.Since(began)
	tr.lock.Lock()
	defer tr.lock.Unlock()
	t := &tr.counted
	t.requests++
	t.longest, t.overrun = max(t.longest, took), max(t.overrun, took-within)
	why := unnamed
	if err != nil {
		why = causeOf(err)
	}
	switch {
	case err == nil:
		tr.succeeded.Add(1)
		return
	case why == wrongAnswer:
		t.wrong++
		t.bad = append(t.bad, err)
	case why == unnamed, tellsSecrets(err):
		t.bad = append(t.bad, err)
	case why == "57014" && !errors.Is(err, context.DeadlineExceeded): // a cancel that was meant for another
		t.bad = append(t.bad, err)
	case within == impatience && errors.Is(err, context.DeadlineExceeded):
		return // its client went away: that is no failure
	}
	t.failed++
	t.lastFailure = time.Now()
	t.causes[why]++
}

// shows tells whether a request has failed because of any of these. Without any, yes.
func (t tally) shows(any []cause) bool {
	return len(any) == 0 || slices.ContainsFunc(any, func(c cause) bool { return t.causes[c] > 0 })
}

func (tr *traffic) hasShown(any []cause) bool {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	return tr.counted.shows(any)
}

// untilNoneFails returns when no request has failed for so long, or in vain when
// that takes more than twice as long as it may.
func (tr *traffic) untilNoneFails(quiet time.Duration) {
	began := time.Now()
	eventually(2*mustBeBack+slack(), func() bool {
		tr.lock.Lock()
		defer tr.lock.Unlock()
		return time.Since(began) > quiet && time.Since(tr.counted.lastFailure) > quiet
	})
}

// tellsSecrets looks for what only the configuration and the server know.
func tellsSecrets(err error) bool {
	text := err.Error()
	return strings.Contains(text, server.Password) || strings.Contains(text, "password=") || strings.Contains(text, "postgres://")
}

// stop lets the requests under way end, and returns what was counted.
func (tr *traffic) stop(t *testing.T) tally {
	t.Helper()
	close(tr.ending)
	done := make(chan struct{})
	go func() { tr.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(requestTime + mustBeQuiet + slack()):
		stacks := make([]byte, 1<<20)
		t.Fatalf("requests hang:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	return tr.counted
}
