package property_tests

import (
	"context"
	"errors"
	"sync"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

const (
	actorShare  actor.ShareIndex = 0
	actorSystem actor.ShareIndex = 1
	// actorForEver is longer than any plan takes: who still waits then hangs.
	actorForEver = 24 * time.Hour
)

var actorBackground = context.Background()

// actorRun carries out a plan in a bubble. A second share with one lease keeps
// the supervisor alive to be asked after the first share has drained.
type actorRun struct {
	*actorServer
	supervisor *actor.Supervisor
	base       context.Context // ends when something hangs
	abort      context.CancelFunc
	steady     bool // no failures, pauses or drains: somebody must always move
	system     *actorServer
	lease      actor.Lease

	// Under mu: leases, those of them released twice, how many connections Evict
	// said it closed, and how many Evicts did not say.
	grants, doubles, evictSaid, evictsUnknown int
}

func newActorRun(p actorPlan) *actorRun {
	r := &actorRun{actorServer: newActorServer(p)}
	r.system = newActorServer(actorPlan{
		limits: model.Limits{Budget: 1, PerWorkspace: 1, MaxWaiters: 1, MaxWaitersPerWorkspace: 1, MaxDialing: 1},
		dials:  []actorDial{{}},
		closes: []time.Duration{0},
	})
	r.base, r.abort = context.WithCancel(actorBackground)
	r.supervisor = actor.Start(
		actor.Share{Limits: p.limits, Dialer: r.actorServer},
		actor.Share{Limits: r.system.plan.limits, Dialer: r.system},
	)
	return r
}

// follow runs the plan to its end.
func (r *actorRun) follow() {
	defer r.abort()
	var err error
	if r.lease, err = r.supervisor.Acquire(r.base, actorSystem, "system", actor.Wait{}); err != nil {
		r.with(func() { r.fault("the second share does not serve: %v", err) })
	}
	var callers, rest sync.WaitGroup
	for i, requests := range r.plan.callers {
		callers.Go(func() {
			for _, request := range requests {
				r.request(i, request)
			}
		})
	}
	for _, c := range r.plan.controls {
		rest.Go(func() { r.control(c) })
	}
	begun, drained := make(chan struct{}), make(chan struct{})
	allCalled := actorDone(&callers)
	go func() {
		defer close(drained)
		if r.plan.drainAt > 0 {
			time.Sleep(r.plan.drainAt)
		} else {
			<-allCalled
		}
		r.beginDrain()
		close(begun)
		if err := r.supervisor.Drain(actorBackground); err != nil {
			r.with(func() { r.fault("drain: %v", err) })
		}
	}()
	r.watch(allCalled)
	r.expect(allCalled, "callers wait")
	if r.steady {
		r.neverStoodStill()
	}
	r.expect(actorDone(&rest), "operations wait")
	r.expect(begun, "Drain with a time to its end waits")
	r.ask() // the last question before the end
	r.lease.Release(core.Clean)
	r.expect(drained, "Drain waits")
	r.settle()
	r.system.settle()
	r.with(func() { r.faults = append(r.faults, r.system.faults...) })
}

// actorDone is closed when the group is done.
func actorDone(group *sync.WaitGroup) chan struct{} {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	return done
}

// expect reports it when something has not happened for ever, and then sets free
// whom it can.
func (r *actorRun) expect(done <-chan struct{}, what string) {
	select {
	case <-done:
		return
	case <-time.After(actorForEver):
	}
	r.with(func() { r.fault("I3: %s for ever: %+v", what, r.now) })
	r.abort()
	select {
	case <-done:
	case <-time.After(actorForEver):
		r.with(func() { r.fault("I3: %s although their contexts have ended", what) })
	}
}

// watch compares the stats with the truth while the callers call.
func (r *actorRun) watch(done <-chan struct{}) {
	for pause := time.Millisecond; pause < time.Hour; pause += pause / 4 {
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
		synctest.Wait()
		r.look()
		r.with(func() {
			if c := r.now; r.steady && c.waiting > 0 && c.dialing+c.closing+c.held == 0 {
				r.fault("I7: %d wait, and nothing moves", c.waiting)
			}
		})
	}
}

// neverStoodStill: somebody thought, held a connection, or was dialing or closing
// one, all the time.
func (r *actorRun) neverStoodStill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	busy := r.moved
	for _, requests := range r.plan.callers {
		for _, q := range requests {
			busy += q.think + q.hold
		}
	}
	if took := r.elapsed(); took > busy {
		r.fault("I7: all took %v, but there was work for %v only", took, busy)
	}
}

func (r *actorRun) look() actor.Stats {
	// Asking makes the supervisor look into the seats, and what it finds there may
	// be over its lifetime.
	_, _ = r.supervisor.Stats(r.base)
	synctest.Wait()
	st, err := r.supervisor.Stats(r.base)
	if err != nil {
		r.with(func() { r.fault("stats: %v", err) })
		return actor.Stats{Shares: make([]model.BudgetStats, 2)}
	}
	r.compare(st)
	return st
}

// ask waits until the first share has drained, and checks its last stats.
func (r *actorRun) ask() {
	begin := time.Now()
	for r.open() > 0 && time.Since(begin) < actorForEver {
		time.Sleep(10 * time.Millisecond)
	}
	synctest.Wait()
	st := r.look()
	share, c := st.Shares[actorShare], st.Shares[actorShare].Counters
	r.mu.Lock()
	defer r.mu.Unlock()
	if share.Counts != (model.Counts{}) || !share.Draining || len(share.Active) > 0 {
		r.fault("after the drain the stats are %+v", share)
	}
	if c.Acquires != c.Grants()+c.Rejects || c.Grants() < uint64(r.grants) {
		r.fault("I3: %d acquires had %d grants (%d were seen) and %d rejects", c.Acquires, c.Grants(), r.grants, c.Rejects)
	}
	if waits, dials := observed(share.Waits), observed(share.DialTimes); waits != c.Grants() || dials != c.Dials-c.DialFailures {
		r.fault("the histograms have %d waits and %d dials, the counters %+v", waits, dials, c)
	}
	if c.StaleMessages != uint64(r.doubles) {
		r.fault("%d stale messages, but %d leases were released twice", c.StaleMessages, r.doubles)
	}
	if c.Dials != uint64(r.began) || c.Closes != r.reasons {
		r.fault("the counters are %+v; the server saw %d dials, and closes %v", c, r.began, r.reasons)
	}
	evicted := int(r.reasons[model.EvictAsked])
	if evicted < r.evictSaid || evicted > r.evictSaid && r.evictsUnknown == 0 {
		r.fault("Evict says it closed %d, but it closed %d", r.evictSaid, evicted)
	}
	if second := st.Shares[actorSystem]; second.Draining != share.Draining || second.InUse != 1 {
		r.fault("after the first share the second is %+v", second)
	}
}

func observed(h model.Histogram) (n uint64) {
	for _, count := range h.Counts {
		n += count
	}
	return n
}

func (r *actorRun) open() (n int) {
	r.with(func() { n = r.now.open + r.now.dialing + r.now.closing })
	return n
}

// beginDrain calls the first Drain, which cannot end well: the second share's
// lease is out.
func (r *actorRun) beginDrain() {
	r.with(func() {
		r.note("drain")
		r.drainedAt = r.elapsed()
	})
	patience := r.plan.drainPatience
	ctx, cancel := context.WithTimeout(actorBackground, patience)
	defer cancel()
	begin := time.Now()
	err := r.supervisor.Drain(ctx)
	if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != patience {
		r.with(func() { r.fault("a drain with a lease out ended after %v, patience %v, with %v", took, patience, err) })
	}
}

func (r *actorRun) control(c actorControl) {
	time.Sleep(c.at)
	r.with(func() {
		r.note("%#v", c)
		if c.kind == actorRenew || c.kind == actorPause {
			r.stale[c.workspace] = true
		}
		if c.kind == actorLimits {
			// Sent while holding mu: so they are sent in the order of the list.
			r.limits = append(r.limits, actorLimitsAt{r.elapsed(), c.budget, c.cap})
			err := r.supervisor.SetLimits(r.base, core.SetLimits{Budget: c.budget, PerWorkspace: c.cap}, core.SetLimits{Budget: 1, PerWorkspace: 1})
			if err != nil && !errors.Is(err, model.ErrClosed) {
				r.fault("set limits: %v", err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(r.base, c.lasts)
	defer cancel()
	begin := time.Now()
	var err error
	switch c.kind {
	case actorEvict:
		var n int
		n, err = r.supervisor.Evict(ctx, actorShare, c.workspace)
		r.with(func() {
			r.evictSaid += n
			if err != nil {
				r.evictsUnknown++
			}
		})
	case actorRenew:
		var before int // dials
		r.with(func() { before = r.began })
		_, err = r.supervisor.Renew(ctx, actorShare, c.workspace)
		if err == nil {
			r.with(func() { r.renewed[c.workspace] = max(r.renewed[c.workspace], before) })
		}
	case actorPause:
		_, err = r.supervisor.Pause(ctx, actorShare, c.workspace)
		if err == nil {
			<-ctx.Done()
		}
		r.with(func() { r.note("resume %s", c.workspace) })
		if err := r.supervisor.Resume(r.base, actorShare, c.workspace); err != nil && !errors.Is(err, model.ErrClosed) {
			r.with(func() { r.fault("resume: %v", err) })
		}
	}
	if took := time.Since(begin); took > c.lasts || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		r.with(func() { r.fault("%#v took %v and ended with %v", c, took, err) })
	}
}
