package actor

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// BenchmarkNote: what recording adds to a message, the images included.
func BenchmarkNote(b *testing.B) {
	state := model.NewState(recordedLimits())
	r := newRecorder(state)
	messages := [...]model.Message{
		model.Acquire{Lease: 1, Workspace: "a"}, model.Release{Lease: 1, Conn: 1}, model.Reclaim{}, model.Closed{Conn: 1},
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.note(time.Duration(i), state, messages[i%len(messages)])
		i++
	}
}
