package actor

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// recorder keeps the last messages that a share's core was told, and the state in
// which they found it: two generations, so that there is always a full one and at
// most another one that becomes full. Only the supervisor's goroutine touches it.
type recorder struct {
	previous, current *generation
}

// generation is an image of the core and what it was told since. What is in it
// never changes, so that it can be handed out without a copy.
type generation struct {
	image   core.Image
	entries []core.Entry // its capacity is how many there will be
	// handedOut: somebody may read the entries, which are not to be used again.
	handedOut bool
}

const (
	// leastEntries is how many messages a generation holds at least.
	leastEntries = 4096
	// entriesPerItem: an image takes time for each connection, waiter and workspace
	// in it, which so many messages must make up for. See BenchmarkImage.
	entriesPerItem = 4
)

func newRecorder(state *core.State) recorder {
	r := recorder{previous: new(generation)}
	r.begin(state, nil)
	return r
}

// note is called before the core is told the message.
func (r *recorder) note(now time.Duration, state *core.State, m core.Message) {
	g := r.current
	if len(g.entries) == cap(g.entries) {
		r.turn(state)
		g = r.current
	}
	n := len(g.entries)
	g.entries = g.entries[:n+1]
	g.entries[n].Set(now, m)
}

// turn begins a new generation.
func (r *recorder) turn(state *core.State) {
	unused := r.previous
	r.previous = r.current
	if unused.handedOut {
		r.begin(state, nil)
	} else {
		r.begin(state, unused.entries[:0])
	}
}

// begin takes an image. It uses the entries' memory again if that is of the right
// size.
func (r *recorder) begin(state *core.State, entries []core.Entry) {
	image := state.Image()
	n := max(leastEntries, entriesPerItem*(len(image.Conns)+len(image.Waiters)+len(image.Workspaces)))
	if cap(entries) < n || cap(entries) > 2*n {
		entries = make([]core.Entry, 0, n)
	}
	r.current = &generation{image: image, entries: entries[:0:n]}
}

// recordings is what there is of each share.
func (s *Supervisor) recordings() []generations {
	all := make([]generations, len(s.shares))
	for i, sh := range s.shares {
		r := &sh.recorder
		r.previous.handedOut, r.current.handedOut = true, true
		all[i] = generations{*r.previous, *r.current, s.loop.now}
	}
	return all
}

// generations are those of one moment. The previous one may be empty.
type generations struct {
	previous, current generation
	at                time.Duration
}

func (g generations) recording(s *Supervisor, sh *share) core.Recording {
	begin := g.previous.image
	if g.previous.entries == nil {
		begin = g.current.image
	}
	return core.Recording{
		System:  sh.system,
		Start:   s.start,
		End:     g.at,
		Image:   begin.Sorted(),
		Entries: append(append([]core.Entry{}, g.previous.entries...), g.current.entries...),
	}
}

// Recordings returns, for each share in their order, what its core was told of
// late: at least the last 4,096 messages if there were so many. It waits for the
// supervisor's answer, but no longer than ctx; the error wraps ctx.Err(), or
// model.ErrClosed.
func (s *Supervisor) Recordings(ctx context.Context) ([]core.Recording, error) {
	answers := make(chan []generations, 1)
	s.send(recordingsRequest{answers})
	shares, err := await(ctx, s, answers, "the supervisor has not answered")
	if err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	all := make([]core.Recording, len(shares))
	for i, g := range shares { // here, not at the supervisor's expense
		all[i] = g.recording(s, s.shares[i])
	}
	return all, nil
}

type recordingsRequest struct{ answer chan<- []generations }

func (r recordingsRequest) carryOut(s *Supervisor) { r.answer <- s.recordings() }
