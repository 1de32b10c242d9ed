package core

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestABackOffDoublesUpToItsMaximumLessUpToHalf(t *testing.T) {
	l := model.Limits{BackoffMin: 10 * ms, BackoffMax: 100 * ms}
	for failures, most := range map[int]time.Duration{
		1: 10 * ms, 2: 20 * ms, 3: 40 * ms, 4: 80 * ms, 5: 100 * ms, 6: 100 * ms, 1 << 30: 100 * ms,
	} {
		between(t, most/2, most, func(l model.Limits, key uint64) time.Duration { return Backoff(l, key, failures) }, l)
	}
}

func TestWorkspacesThatFailTogetherAreNotRetriedTogether(t *testing.T) {
	l := limits(9, 1)
	l.BackoffMin, l.BackoffMax = time.Second, time.Second
	s := NewState(l)
	s.Step(0, acquire(1, "a"))
	s.Step(0, acquire(2, "b"))
	s.Step(0, failed(1, model.Transient))
	s.Step(0, failed(2, model.Transient))
	if s.workspaces["a"].Backoff.Until == s.workspaces["b"].Backoff.Until {
		t.Error("both back-offs end at the same time")
	}
}

func TestALifetimeIsShortenedByUpToATenth(t *testing.T) {
	between(t, 540*time.Second, 600*time.Second, func(l model.Limits, key uint64) time.Duration {
		return Lifetime(l, ConnID(key))
	}, model.Limits{MaxLifetime: 600 * time.Second})
}

func TestALifetimeIsLengthenedByLessThanItsJitter(t *testing.T) {
	lifetime := func(l model.Limits, key uint64) time.Duration { return Lifetime(l, ConnID(key)) }
	between(t, 600*time.Second, 660*time.Second-1, lifetime, model.Limits{MaxLifetime: 600 * time.Second, LifetimeJitter: time.Minute})
	if got := Lifetime(model.Limits{MaxLifetime: Never - 9, LifetimeJitter: time.Hour}, 1); got != Never {
		t.Errorf("beyond the end of time it is %v", got)
	}
	if got := Lifetime(model.Limits{MaxLifetime: time.Hour, LifetimeJitter: 1}, 1); got != time.Hour {
		t.Errorf("a jitter of less than a nanosecond makes an hour %v", got)
	}
}

func TestNoLifetimeIsForEver(t *testing.T) {
	if Lifetime(model.Limits{}, 1) != Never || Lifetime(model.Limits{MaxLifetime: -1}, 1) != Never {
		t.Error("a connection with no lifetime ends")
	}
}

// between tries many keys and seeds: all results are in the range, and some
// come near each of its ends.
func between(t *testing.T, low, high time.Duration, f func(model.Limits, uint64) time.Duration, l model.Limits) {
	t.Helper()
	for name, vary := range map[string]func(i uint64) time.Duration{
		"key":  func(i uint64) time.Duration { return f(l, i) },
		"seed": func(i uint64) time.Duration { l.Seed = i; return f(l, 1) },
	} {
		least, most := Never, time.Duration(0)
		for i := range uint64(1000) {
			d := vary(i)
			least, most = min(least, d), max(most, d)
		}
		near := (high - low) / 20
		if least < low || least > low+near || most > high || most < high-near {
			t.Errorf("from %v to %v by %s, want %v to %v", least, most, name, low, high)
		}
	}
}

// The values are the published ones of SplitMix64 for the seeds 0 and 1234567,
// less the top bit.
func TestJitterIsSplitMix64(t *testing.T) {
	const all = 1<<63 - 1
	for _, v := range []struct{ seed, key, want uint64 }{
		{0, 0, 0xe220a8397b1dcdaf & all},
		{1234567, 0, 6457827717110365317},
		{1234567, 1, 3203168211198807973},
		{1234567, 2, 9817491932198370423 & all},
	} {
		if got := jitter(v.seed, v.key, all); uint64(got) != v.want {
			t.Errorf("seed %d key %d: %d, want %d", v.seed, v.key, got, v.want)
		}
	}
	if jitter(1, 1, 0) != 0 {
		t.Error("a jitter of at most nothing is something")
	}
}
