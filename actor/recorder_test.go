package actor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func recordedLimits() model.Limits {
	return model.Limits{
		Budget: 6, PerWorkspace: 3, MaxWaiters: 100, MaxWaitersPerWorkspace: 100, MaxDialing: 4, AdaptDialing: true,
		Patience: 2 * time.Millisecond, MaxIdleTime: time.Second, VerifyAfter: 20 * time.Millisecond,
		BackoffMin: time.Millisecond, BackoffMax: 8 * time.Millisecond, CloseGrace: time.Second, ProbeAfter: time.Second,
	}
}

// flakyDialer is a briefDialer for many dials at once.
type flakyDialer struct{ dials atomic.Int64 }

func (d *flakyDialer) Dial(context.Context, model.WorkspaceID) (Conn, error) {
	time.Sleep(time.Millisecond)
	if d.dials.Add(1)%3 == 0 {
		return briefConn{}, errors.New("refused")
	}
	return briefConn{}, nil
}

// traffic has many borrow at once, with dials that fail, seats, waits that are too
// long and everything that an operator can do, until the test has seen enough.
func traffic(t *testing.T, s *Supervisor, enough func() bool) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for worker := range 12 {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		all.Go(func() {
			for ctx.Err() == nil {
				id := model.WorkspaceID(fmt.Sprintf("w%d", min(random.IntN(9), random.IntN(9))))
				switch random.IntN(500) {
				case 0:
					_, _ = s.Evict(ctx, 0, id)
				case 1:
					_, _ = s.Pause(ctx, 0, id)
					_ = s.Resume(ctx, 0, id)
				case 2:
					_ = s.SetLimits(ctx, core.SetLimits{Budget: 4 + random.IntN(4), PerWorkspace: 1 + random.IntN(4)})
				}
				l, err := s.Acquire(ctx, 0, id, Wait{AtMost: time.Duration(random.IntN(9)) * time.Millisecond, NoWait: random.IntN(20) == 0})
				if err != nil {
					continue
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
				l.Release(core.Health(max(0, random.IntN(200)-197)))
			}
		})
	}
	for !enough() {
		time.Sleep(time.Second + 300*time.Microsecond)
	}
	cancel()
	all.Wait()
	if err := s.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// replayed is what becomes of a recording that somebody else has read.
func replayed(t *testing.T, r core.Recording) string {
	t.Helper()
	var read core.Recording
	if err := json.Unmarshal(asJSON(t, r), &read); err != nil {
		t.Fatal(err)
	}
	state, err := core.Restore(read.Image)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range read.Entries {
		state.Step(e.At, e.Message())
	}
	return string(asJSON(t, inOrder(state.Image())))
}

// inOrder is the Image with that in order whose order means nothing.
func inOrder(i core.Image) core.Image {
	i.Active, i.Conns = slices.Clone(i.Active), slices.Clone(i.Conns)
	sort.Slice(i.Active, func(a, b int) bool { return i.Active[a].ID < i.Active[b].ID })
	sort.Slice(i.Conns, func(a, b int) bool { return i.Conns[a].ID < i.Conns[b].ID })
	return i
}

func asJSON(t *testing.T, x any) []byte {
	t.Helper()
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestARecordingEndsInTheStateThatTheSupervisorIsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(Share{Limits: recordedLimits(), Dialer: &flakyDialer{}}, Share{Limits: recordedLimits(), Dialer: &flakyDialer{}, System: true})
		looks, turned := 0, false
		traffic(t, s, func() bool {
			synctest.Wait()
			want := string(asJSON(t, inOrder(s.shares[0].state.Image())))
			recordings, err := s.Recordings(t.Context())
			if err != nil || len(recordings) != 2 || recordings[0].System || !recordings[1].System {
				t.Fatalf("%d recordings, %v", len(recordings), err)
			}
			r := recordings[0]
			if end := time.Since(r.Start) - r.End; end < 0 || end > time.Millisecond {
				t.Errorf("it ended %v ago", end)
			}
			if got := replayed(t, r); got != want {
				t.Fatalf("the supervisor's state is\n%s\nreplayed it is\n%s", want, got)
			}
			if n := len(r.Entries); n > 2*leastEntries || turned && n < leastEntries {
				t.Fatalf("%d entries", n)
			}
			turned = turned || r.Image.LastConn > 0 // it does not begin with the supervisor
			looks++
			return turned && looks > 8
		})
	})
}

func TestAGenerationBeginsWhereTheOneBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(Share{Limits: recordedLimits(), Dialer: &flakyDialer{}})
		var before time.Duration
		turns := 0
		traffic(t, s, func() bool {
			r, err := ask(t.Context(), s, "generation", notAnswered, func() recorder {
				r := s.shares[0].recorder
				r.previous.entries = slices.Clone(r.previous.entries)
				return r
			})
			g := r.previous
			if err != nil || g.entries == nil || turns > 0 && g.image.Now == before {
				return false
			}
			before = g.image.Now
			turns++
			recording := core.Recording{Image: g.image, Entries: g.entries}
			if want := string(asJSON(t, inOrder(r.current.image))); replayed(t, recording) != want {
				t.Fatalf("generation %d does not end where the next one begins", turns)
			}
			return turns > 2
		})
	})
}

// What was handed out is read while the supervisor goes on.
func TestWhatWasHandedOutDoesNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(Share{Limits: recordedLimits(), Dialer: &flakyDialer{}})
		var handedOut []core.Recording
		var content []string
		traffic(t, s, func() bool {
			all, err := s.Recordings(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			handedOut, content = append(handedOut, all...), append(content, string(asJSON(t, all[0])))
			return len(handedOut) > 6 && all[0].Image.LastConn > 0 // a generation has ended
		})
		for i, r := range handedOut {
			if string(asJSON(t, r)) != content[i] {
				t.Errorf("the recordings handed out at first and %d times after have changed", i)
			}
		}
	})
}

func TestTheMemoryOfAGenerationIsUsedAgain(t *testing.T) {
	state := core.NewState(recordedLimits())
	r := recorder{current: newGeneration(state, nil)}
	first := &r.current.entries[:1][0]
	for range 2*leastEntries + 1 {
		r.note(state, core.Entry{Other: core.Tick{}})
	}
	if &r.current.entries[0] != first || len(r.current.entries) != 1 || len(r.previous.entries) != leastEntries {
		t.Errorf("after two generations the third has %d entries, the second %d", len(r.current.entries), len(r.previous.entries))
	}
}

// A large state makes for few images.
func TestAGenerationGrowsWithTheState(t *testing.T) {
	limits := recordedLimits()
	limits.MaxWaiters, limits.MaxWaitersPerWorkspace = 10_000, 10_000
	state := core.NewState(limits)
	r := recorder{current: newGeneration(state, nil)}
	tell := func(n int, m func(i int) core.Message) {
		for i := range n {
			r.note(state, core.Entry{Other: m(i)})
			state.Step(0, m(i))
		}
	}
	tell(10_000, func(i int) core.Message { return core.Acquire{Lease: core.LeaseID(i + 1), Workspace: "a"} })
	tell(11_000, func(int) core.Message { return core.Tick{} })
	if n := cap(r.current.entries); n < 32_000 || n > 41_000 { // it began with about 8,000 or 10,000 waiters
		t.Errorf("with ten thousand waiters a generation has %d entries", n)
	}
	tell(10_000, func(i int) core.Message { return core.Cancel{Lease: core.LeaseID(i + 1)} })
	tell(3*40_000, func(int) core.Message { return core.Tick{} })
	if n := cap(r.current.entries); n != leastEntries {
		t.Errorf("with none again it has %d", n)
	}
}

func TestThereAreNoRecordingsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(Share{Limits: recordedLimits(), Dialer: &flakyDialer{}})
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("nobody wants them"))
		if _, err := s.Recordings(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.Recordings(t.Context()); !errors.Is(err, model.ErrClosed) {
			t.Errorf("got %v, want model.ErrClosed", err)
		}
	})
}
