package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// backoff is the pause after failed dials, of one workspace or of the server.
// The zero value is: no failure.
type backoff struct {
	// Failures are those in a row; a dial that succeeds makes it 0 again.
	Failures int
	// Until is when the pause ends, which the last failure began.
	Until time.Duration
	// Kind and Err are of the last failure, and Said is what Err says, for an Image.
	Kind model.FailureKind
	Err  error `json:"-"`
	Said string
}

func (b *backoff) lasts(now time.Duration) bool { return b.Failures > 0 && now < b.Until }

func (b *backoff) fail(now time.Duration, limits model.Limits, c *conn, m DialFailed) {
	b.Failures++
	b.Until = now + Backoff(limits, uint64(c.ID), b.Failures)
	b.Kind, b.Err, b.Said = m.Kind, m.Err, m.Err.Error()
}

func (b *backoff) dialError(w *workspace) *model.DialError {
	return &model.DialError{WorkspaceID: w.ID, Kind: b.Kind, Attempts: b.Failures, Err: b.Err}
}

// DialFailures is how many dials of the workspace have failed since one last succeeded.
func (s *State) DialFailures(id model.WorkspaceID) int {
	if w := s.workspaces[id]; w != nil {
		return w.Backoff.Failures
	}
	return 0
}

// Backoff is how long a State waits after so many failed dials in a row: the
// minimum doubled with each failure up to the maximum, of which between half
// and all, by the key ("equal jitter").
func Backoff(limits model.Limits, key uint64, failures int) time.Duration {
	d := limits.BackoffMin
	for i := 1; i < failures && d < limits.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, limits.BackoffMax)
	return d - jitter(limits.Seed, key, d/2)
}

// Lifetime is how old the connection may get: MaxLifetime less up to a tenth, or plus
// less than LifetimeJitter, so that connections opened together do not all end together;
// Never when MaxLifetime is zero or less.
func Lifetime(limits model.Limits, id ConnID) time.Duration {
	d := limits.MaxLifetime
	if d <= 0 {
		return Never
	}
	if most := limits.LifetimeJitter; most > 0 {
		return d + min(jitter(limits.Seed, uint64(id), most-1), Never-d)
	}
	return d - jitter(limits.Seed, uint64(id), d/10)
}

// jitter is between 0 and most, always the same for the same seed and key. It
// is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014).
func jitter(seed, key uint64, most time.Duration) time.Duration {
	z := seed + (key+1)*0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return time.Duration(z % (uint64(most) + 1))
}
