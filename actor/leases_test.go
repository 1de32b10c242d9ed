package actor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// overdue are the leases that are reported, as "workspace age", and when to ask again.
func (w *world) overdue(after time.Duration) (told []string, next time.Duration) {
	w.Helper()
	leases, next, err := w.OverdueLeases(background, after)
	if err != nil {
		w.Fatal(err)
	}
	return described(leases), next
}

func described(leases []actor.HeldLease) (words []string) {
	for _, l := range leases {
		words = append(words, fmt.Sprintf("%s %v", l.Workspace, l.Age))
	}
	return words
}

func TestAnOverdueLeaseIsToldOnceAndAtItsTime(t *testing.T) {
	test(t, few(4, 2), func(w *world) {
		w.RecallSeldom()
		events := w.watch(background, 100)
		expect := func(wantNext time.Duration, want ...string) {
			t.Helper()
			if got, next := w.overdue(time.Minute); !slices.Equal(got, want) || next != wantNext {
				t.Errorf("%q, the next in %v; want %q, %v", got, next, want, wantNext)
			}
		}
		expect(time.Minute)
		w.idle("a", 1)
		w.told(events)
		time.Sleep(30 * time.Minute)
		expect(time.Minute) // what lies in a seat is nobody's
		w.seated("a")
		time.Sleep(20 * time.Second)
		w.acquire("b")
		expect(40*time.Second - w.server.dialTakes)
		time.Sleep(40*time.Second - w.server.dialTakes)
		expect(20*time.Second+w.server.dialTakes, "a 1m0s")
		expect(20*time.Second + w.server.dialTakes)
		time.Sleep(20*time.Second + w.server.dialTakes)
		expect(time.Minute, "b 1m0s")
		expect(time.Minute)
		got, _ := w.told(events)
		got = slices.DeleteFunc(got, func(e model.Event) bool { return e.Kind != model.EventLeaseOverdue })
		if len(got) != 2 || got[0].Workspace != "a" || got[0].HeldFor != time.Minute || got[1].Workspace != "b" {
			t.Errorf("the events are %+v", got)
		}
		// The next holder's lease is another one.
		w.leases[len(w.leases)-1].Release(core.Clean)
		w.seated("b")
		time.Sleep(61 * time.Second)
		expect(time.Minute, "b 1m1s")
	})
}

func TestTheLeasesAreListedWithTheirTrueAge(t *testing.T) {
	testShares(t, []model.Limits{few(4, 4), few(2, 2)}, func(w *world) {
		w.RecallSeldom()
		w.idle("a", 2)
		w.acquireOf(second, "system")
		time.Sleep(time.Second)
		w.seated("a")
		time.Sleep(time.Second)
		w.acquire("b")
		leases, err := w.Leases(background)
		if err != nil {
			t.Fatal(err)
		}
		d := w.server.dialTakes
		want := []string{fmt.Sprint("system ", 2*time.Second+d), fmt.Sprint("a ", time.Second+d), "b 0s"}
		if got := described(leases); !slices.Equal(got, want) || leases[0].Share != second || leases[1].Share != first {
			t.Errorf("%q, want %q", got, want)
		}
		if leases[0].Lease.Ended() || leases[0].Lease.Conn() == nil {
			t.Error("the lease cannot be looked at")
		}
	})
}

func TestADrainedSupervisorHasNoLeases(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.drained(w.drain(background))
		_, err := w.Leases(background)
		_, _, overdue := w.OverdueLeases(background, time.Second)
		if !errors.Is(err, model.ErrClosed) || !errors.Is(overdue, model.ErrClosed) {
			t.Errorf("%v, %v", err, overdue)
		}
		done, stop := context.WithCancel(background)
		stop()
		if _, err := w.Leases(done); err == nil {
			t.Error("no error")
		}
	})
}
