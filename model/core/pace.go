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
	limit int
	// votes for more, less those for fewer, since the limit last changed.
	votes int
	// fastest is the shortest dial of this epoch and of the one before: t0.
	fastest [2]time.Duration
	epochAt time.Duration // when the epoch ends
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
	p := pace{limit: limits.MaxDialing, fastest: [2]time.Duration{Never, Never}}
	if limits.AdaptDialing {
		p.limit = min(firstDialing, p.limit)
	}
	return p
}

// observe learns from a dial that succeeded, when atOnce were under way, itself
// included.
func (p *pace) observe(now, took time.Duration, atOnce int, limits model.Limits) {
	if !limits.AdaptDialing || took <= 0 {
		return
	}
	if now >= p.epochAt {
		p.epochAt = now + paceEpoch
		p.fastest[1], p.fastest[0] = p.fastest[0], Never
	}
	p.fastest[0] = min(p.fastest[0], took)
	t0 := min(p.fastest[0], p.fastest[1])
	n := time.Duration(atOnce)
	queue := n * (took - t0) / took
	switch {
	case queue < max(1, n/4) && atOnce >= p.limit: // it was the limit that held others back
		p.votes++
	case queue > max(3, n/2):
		p.votes--
	}
	// As many votes as dials at once: once for each round of them.
	switch {
	case p.votes >= p.limit:
		p.limit, p.votes = min(p.limit+1, limits.MaxDialing), 0
	case p.votes <= -p.limit:
		p.limit, p.votes = max(p.limit-1, min(leastDialing, limits.MaxDialing)), 0
	}
}
