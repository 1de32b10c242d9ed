package actor

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// BenchmarkNote: what recording adds to a message, the images included.
func BenchmarkNote(b *testing.B) {
	state := core.NewState(recordedLimits())
	r := recorder{current: newGeneration(state, nil)}
	messages := [...]core.Message{
		core.Acquire{Lease: 1, Workspace: "a"}, core.Release{Lease: 1, Conn: 1}, core.Reclaim{}, core.Closed{Conn: 1},
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.note(state, core.Entry{At: time.Duration(i), Other: messages[i%len(messages)]})
		i++
	}
}
