package core

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// paceAfter is the limit after so many dials on a server with that many
// processors. A dial takes alone on one of them, and far besides.
func paceAfter(dials, processors int, alone, far time.Duration, most int) int {
	limits := model.Limits{MaxDialing: most, AdaptDialing: true}
	p := newPace(limits)
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Duration(0)
	for i := range dials {
		atOnce := p.Limit
		if i%50 == 0 {
			atOnce = 1 // there is not always a queue
		}
		took := max(far+alone, alone*time.Duration(atOnce)/time.Duration(processors))
		took += time.Duration(rng.Int64N(int64(took / 5)))
		now += took / time.Duration(atOnce)
		p.observe(now, took, atOnce, limits)
	}
	return p.Limit
}

func TestThePaceFollowsTheServersProcessors(t *testing.T) {
	for _, test := range []struct {
		processors, from, to int
		alone, far           time.Duration
	}{
		{1, 2, 4, 5 * ms, 0},
		{2, 3, 5, 5 * ms, 0},
		{8, 8, 11, 5 * ms, 0},
		{2, 18, 30, 5 * ms, 40 * ms}, // while they are on their way, others can be served
		{64, 32, 32, 5 * ms, 0},      // the most allowed
	} {
		if got := paceAfter(20_000, test.processors, test.alone, test.far, 32); got < test.from || got > test.to {
			t.Errorf("%d processors, %v away: %d dials at once, want %d to %d", test.processors, test.far, got, test.from, test.to)
		}
	}
}

func TestWithoutAdaptationThePaceIsTheMost(t *testing.T) {
	limits := model.Limits{MaxDialing: 7}
	p := newPace(limits)
	for range 1000 {
		p.observe(1, time.Second, 7, limits)
		p.observe(2, ms, 7, limits)
	}
	if p.Limit != 7 {
		t.Errorf("the limit is %d", p.Limit)
	}
}

// A pace that nobody waited for says nothing about a higher one.
func TestThePaceGrowsOnlyWhenItIsUsed(t *testing.T) {
	limits := model.Limits{MaxDialing: 32, AdaptDialing: true}
	p := newPace(limits)
	for i := range 1000 {
		p.observe(time.Duration(i)*ms, 5*ms, 2, limits)
	}
	if p.Limit != firstDialing {
		t.Errorf("the limit went from %d to %d", firstDialing, p.Limit)
	}
}

func TestASlowerServerIsBelievedAfterTwoEpochs(t *testing.T) {
	limits := model.Limits{MaxDialing: 32, AdaptDialing: true}
	p := newPace(limits)
	dials := func(from, to, took time.Duration) {
		for now := from; now < to; now += took {
			p.observe(now, took, p.Limit, limits)
		}
	}
	dials(0, time.Second, ms)
	if p.Limit < 20 {
		t.Errorf("at a fast server the limit is %d", p.Limit)
	}
	dials(time.Second, time.Minute, 50*ms)
	if p.Limit > firstDialing {
		t.Errorf("when all dials take fifty times as long the limit is %d", p.Limit)
	}
	dials(time.Minute, 3*paceEpoch, 50*ms)
	if p.Limit < 20 {
		t.Errorf("when they have done so for long it is %d", p.Limit)
	}
}

func TestTheCorePacesItsDialsByTheirTimes(t *testing.T) {
	l := limits(100, 1)
	l.MaxDialing, l.AdaptDialing = 10, true
	s := start(t, l)
	for i := range LeaseID(100) {
		s.Step(0, Acquire{Lease: i + 1, Workspace: model.WorkspaceID(rune('A' + i))})
	}
	if got := s.counts[dialing]; got != firstDialing {
		t.Fatalf("%d dials begin", got)
	}
	for i := range ConnID(60) { // each as fast as the first
		s.Step(time.Duration(i/10+1)*ms, DialSucceeded{i + 1})
	}
	if got := s.counts[dialing]; got <= firstDialing {
		t.Errorf("%d dials are under way after 60 fast ones", got)
	}
}
