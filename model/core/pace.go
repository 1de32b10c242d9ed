package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// pace decides how many dials may be under way at once (rule 5).
//
// A dial costs the server most of a processor's time for some milliseconds. Too
// few at once leave processors unused; too many slow each other down, and hold
// slots that serve nobody meanwhile. How many are right depends on the server's
// processors and what else they do, and that shows in how long dials take: of n
// dials at once that each take t, where one alone takes t0, n * (1 - t0/t) only
// queue. The limit is held where that is between a bound to grow and one to
// shrink, as TCP Vegas holds its window (Brakmo, O'Malley, Peterson: TCP Vegas: New
// Techniques for Congestion Detection and Avoidance, 1994); the bounds grow with n,
// because so does the noise.
type pace struct {
	// Limit is how many may be under way, at most Limits.MaxDialing.
	Limit int
	// Votes are those for more, less those for fewer, since Limit last changed.
	Votes int
	// Fastest is the shortest dial of this epoch and of the one before: t0. Never means
	// that there was none.
	Fastest [2]time.Duration
	// EpochAt is when the epoch ends.
	EpochAt time.Duration
}

const (
	// firstDialing is where an adaptive pace begins.
	firstDialing = 4
	leastDialing = 2

	// paceEpoch: t0 follows a server that has become slower within two of them. So
	// many dials in a row that some of them were alone.
	paceEpoch = 5 * time.Minute
)

func newPace(limits model.Limits) pace {
	p := pace{Limit: limits.MaxDialing, Fastest: [2]time.Duration{Never, Never}}
	if limits.AdaptDialing {
		p.Limit = min(firstDialing, p.Limit)
	}
	return p
}

// observe learns from a dial that succeeded, when atOnce were under way, itself
// included.
func (p *pace) observe(now, took time.Duration, atOnce int, limits model.Limits) {
	if !limits.AdaptDialing || took <= 0 {
		return
	}
	if now >= p.EpochAt {
		p.EpochAt = now + paceEpoch
		p.Fastest[1], p.Fastest[0] = p.Fastest[0], Never
	}
	p.Fastest[0] = min(p.Fastest[0], took)
	t0 := min(p.Fastest[0], p.Fastest[1])
	n := time.Duration(atOnce)
	queue := n * (took - t0) / took
	switch {
	case queue < max(1, n/4) && atOnce >= p.Limit: // it was the limit that held others back
		p.Votes++
	case queue > max(3, n/2):
		p.Votes--
	}
	// As many votes as dials at once: once for each round of them.
	switch {
	case p.Votes >= p.Limit:
		p.Limit, p.Votes = min(p.Limit+1, limits.MaxDialing), 0
	case p.Votes <= -p.Limit:
		p.Limit, p.Votes = max(p.Limit-1, min(leastDialing, limits.MaxDialing)), 0
	}
}
