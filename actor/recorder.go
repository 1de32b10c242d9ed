package actor

import (
	"context"
	"slices"

	"github.com/tenantpool/tenantpool/model/core"
)

// recorder keeps the last messages that a share's core was told, and the state in which
// they found it: two generations, so that there is a full one as soon as there was one.
type recorder struct {
	previous, current generation
}

// generation is an image of the core and what it was told since, as far as there is
// room.
type generation struct {
	image   core.Image
	entries []core.Entry
}

const (
	leastEntries = 4096 // how many messages a generation holds at least
	// entriesPerItem: an image takes time for each connection, waiter and workspace
	// in it, which so many messages must make up for. See BenchmarkImage.
	entriesPerItem = 4
)

// newGeneration begins one, in the memory of one's entries if that has the right size.
func newGeneration(state *core.State, entries []core.Entry) generation {
	i := state.Image()
	items := len(i.Conns) + len(i.Waiters) + len(i.Active) + len(i.Retired)
	if n := max(leastEntries, entriesPerItem*items); cap(entries) != n {
		entries = make([]core.Entry, 0, n)
	}
	return generation{i, entries[:0]}
}

// note is called before the core is told the message.
func (r *recorder) note(state *core.State, e core.Entry) {
	if len(r.current.entries) == cap(r.current.entries) {
		r.previous, r.current = r.current, newGeneration(state, r.previous.entries)
	}
	r.current.entries = append(r.current.entries, e)
}

// Recordings returns, for each share in their order, what its core was told of late:
// at least the last 4,096 messages if there were so many. It waits for the
// supervisor's answer, but no longer than ctx; the error wraps ctx.Err(), or
// model.ErrClosed.
func (s *Supervisor) Recordings(ctx context.Context) ([]core.Recording, error) {
	return ask(ctx, s, "recordings", notAnswered, s.recordings)
}

func (s *Supervisor) recordings() []core.Recording {
	all := make([]core.Recording, len(s.shares))
	for i, sh := range s.shares {
		r, begin := sh.recorder, sh.recorder.previous
		if begin.entries == nil {
			begin = r.current
		}
		all[i] = core.Recording{
			System: sh.system, Start: s.start, End: s.loop.now,
			Image: begin.image, Entries: slices.Concat(r.previous.entries, r.current.entries),
		}
	}
	return all
}
