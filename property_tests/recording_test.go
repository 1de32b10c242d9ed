package property_tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model/core"
)

// TestARecordingReplays takes an image in the midst of a log, and sends it and the
// rest of the log through JSON. A State that is made of them must do, step by step,
// what the recorded one did, and be the same in the end.
func TestARecordingReplays(t *testing.T) { often(t, replays(draining)) }

func TestARecordingReplaysWithSeats(t *testing.T) { often(t, replays(seated)) }

func TestARecordingReplaysInACrowd(t *testing.T) { often(t, replays(crowded)) }

func TestARecordingReplaysInExclusiveUse(t *testing.T) { often(t, replays(alone)) }

func TestARecordingReplaysWithLimitsOfWorkspaces(t *testing.T) { often(t, replays(limited)) }

func TestARecordingReplaysWithBatchWork(t *testing.T) { often(t, replays(batching)) }

func TestARecordingReplaysWhenDialsFail(t *testing.T) { often(t, replays(failing)) }

func replays(m mix) func(*rapid.T) {
	generator := orders(m)
	return func(t *rapid.T) {
		limits := someLimits(t)
		limits.AdaptDialing = rapid.Bool().Draw(t, "adapt dialing")
		r := newRun(t, limits)
		before := generator.Draw(t, "before")
		if len(before) > 0 {
			before = before[:rapid.IntRange(0, len(before)).Draw(t, "begin")]
		}
		r.follow(before)
		begin := len(r.log)
		recording := core.Recording{Image: r.core.(*core.State).Image()}
		r.follow(generator.Draw(t, "orders"))
		recording.Entries = make([]core.Entry, len(r.log)-begin)
		for i, e := range r.log[begin:] {
			recording.Entries[i] = core.Entry{At: e.at, Other: e.message}
		}

		var read core.Recording
		if err := json.Unmarshal(marshal(t, recording), &read); err != nil {
			r.fail("it cannot be read again: " + err.Error())
		}
		s, err := core.Restore(read.Image)
		if err != nil {
			r.fail(err.Error())
		}
		if got, want := marshal(t, inOrder(s.Image())), marshal(t, inOrder(recording.Image)); string(got) != string(want) {
			r.fail(fmt.Sprintf("the image\n%s\nis, restored,\n%s", want, got))
		}
		for i, e := range r.log[begin:] {
			entry := read.Entries[i]
			if got, want := core.DescribeMessage(entry.Message()), core.DescribeMessage(e.message); got != want || entry.At != e.at {
				r.fail(fmt.Sprintf("%s at %v was read as %s at %v", want, e.at, got, entry.At))
			}
			if got, want := inFull(step(s, entry.At, entry.Message())), inFull(e.effects); got != want {
				r.fail(fmt.Sprintf("entry %d, %s, had the effects\n%s\nreplayed it has\n%s", i, core.DescribeMessage(e.message), want, got))
			}
			if err := s.Check(); err != nil {
				r.fail(fmt.Sprintf("Check after entry %d of the replay: %v", i, err))
			}
		}
		if got, want := marshal(t, inOrder(s.Image())), marshal(t, inOrder(r.core.(*core.State).Image())); string(got) != string(want) {
			r.fail(fmt.Sprintf("in the end there is\n%s\nreplayed there is\n%s", want, got))
		}
	}
}

// inFull also has the words of the errors.
func inFull(effects []core.Effect) string {
	text := describeAll(effects)
	for _, reject := range effectsOf[core.Reject](effects) {
		text += "\n" + reject.Err.Error()
	}
	return text
}

// inOrder is the Image with that in order whose order means nothing.
func inOrder(i core.Image) core.Image {
	i.Active, i.Conns = slices.Clone(i.Active), slices.Clone(i.Conns)
	sort.Slice(i.Active, func(a, b int) bool { return i.Active[a].ID < i.Active[b].ID })
	sort.Slice(i.Conns, func(a, b int) bool { return i.Conns[a].ID < i.Conns[b].ID })
	return i
}

func marshal(t *rapid.T, x any) []byte {
	t.Helper()
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzRecording: whatever a file says, there is an error or a replay, no panic.
func FuzzRecording(f *testing.F) {
	s := core.NewState(transcriptLimits())
	var recording core.Recording
	for i, line := range []string{
		"acquire 1 a", "dialed 1", "acquire 2 b", "dialed 2", "acquire 3 c nowait", "acquire 4 c", "acquire 8 d batch", "pause 5 b",
		"release 1 conn 1 clean", "closed 1", "dial-failed 3 transient", "acquire 6 a", "acquire 7 b exclusive", "release 2 conn 2 lost", "evict 7 a",
		"reclaim", "cancel 4", "renew 8 a", "renew-all 9", "resume b", "set-limits 1 1", "tick", "drain",
	} {
		m, err := parseMessage(line)
		if err != nil {
			f.Fatal(err)
		}
		recording = core.Recording{Image: s.Image(), Entries: append(recording.Entries, core.Entry{At: ms(i), Other: m})}
		text, err := json.Marshal(recording)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		s.Step(ms(i), m)
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		var r core.Recording
		if json.Unmarshal(text, &r) != nil {
			return
		}
		s, err := core.Restore(r.Image)
		if err != nil {
			return
		}
		for _, e := range r.Entries {
			s.Subject(e.Message())
			s.Step(e.At, e.Message())
			for _, wt := range r.Image.Waiters {
				if w, waits := s.Waiting(wt.Workspace, wt.Lease); waits {
					_ = w.Reason.Error()
				}
			}
		}
		s.Image()
	})
}
