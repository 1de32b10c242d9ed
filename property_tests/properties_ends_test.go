package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// I9.
func TestAfterDrainNothingIsDialedOrGranted(t *testing.T) {
	check(t, draining, property{before: func(l *ledger, e core.Effect) string {
		switch e.(type) {
		case core.Dial, core.Grant:
			if l.draining {
				return "it is draining"
			}
		}
		return ""
	}})
}

// I9, and that it gets there.
func TestDrainedComesOnceAtZero(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t), property{after: func(l *ledger, _ entry) string {
			want := 0
			if l.draining && len(l.conns) == 0 {
				want = 1
			}
			if l.drained != want {
				return fmt.Sprintf("drained came %d times, with %d connections open", l.drained, len(l.conns))
			}
			return ""
		}})
		r.follow(orders(draining).Draw(t, "orders"))
		r.send(entry{at: r.ledger.now, message: core.Drain{}})
		r.settle()
		r.bringHome()
		r.settle()
		if len(r.ledger.conns) > 0 || r.ledger.drained != 1 {
			r.fail(fmt.Sprintf("%d connections are left", len(r.ledger.conns)))
		}
		r.send(entry{at: r.ledger.now, message: core.Drain{}})
		r.send(entry{at: r.ledger.now, message: core.Acquire{Lease: 1, Workspace: "a"}})
	})
}

const remembered = 1024 // workspaces that are neither active nor paused

// I10: ten thousand tenants, one after the other, on four slots.
func TestWorkspacesThatAreGoneCostNothing(t *testing.T) {
	for _, visit := range []struct {
		name string
		do   func(r *visitor, id model.WorkspaceID)
	}{
		{"one query each", func(r *visitor, id model.WorkspaceID) { r.query(id) }},
		{"no such database", func(r *visitor, id model.WorkspaceID) {
			r.send(core.Acquire{Lease: r.lease(), Workspace: id})
			r.answer(func(conn core.ConnID) core.Message {
				return core.DialFailed{Conn: conn, Kind: model.Permanent, Err: errDial}
			})
		}},
		{"refused without waiting", func(r *visitor, id model.WorkspaceID) {
			r.occupy()
			r.send(core.Acquire{Lease: r.lease(), Workspace: id, NoWait: true})
		}},
		{"waiting in vain", func(r *visitor, id model.WorkspaceID) {
			r.occupy()
			r.send(core.Acquire{Lease: r.lease(), Workspace: id})
			r.send(core.Cancel{Lease: r.last})
		}},
		{"looked at by an operator", func(r *visitor, id model.WorkspaceID) {
			r.send(core.Evict{Operation: 1, Workspace: id})
			r.send(core.Pause{Operation: 2, Workspace: id})
			r.send(core.Resume{Workspace: id})
			r.send(core.Resume{Workspace: id + "x"})
		}},
	} {
		t.Run(visit.name, func(t *testing.T) {
			limits := model.Limits{
				Budget: 4, PerWorkspace: 2, MaxWaiters: 10, MaxWaitersPerWorkspace: 10, MaxDialing: 2,
				BackoffMin: time.Minute, BackoffMax: time.Hour, CloseGrace: time.Second, ProbeAfter: time.Second,
			}
			r := &visitor{state: core.NewState(limits)}
			for i := range 10_000 {
				visit.do(r, model.WorkspaceID(fmt.Sprint("tenant-", i)))
				if known := r.state.Known(); known > limits.Budget+remembered {
					t.Fatalf("after %d workspaces %d are known", i+1, known)
				}
				if i%500 != 0 {
					continue // looking is slow
				}
				if active := len(r.state.Stats(r.now).Active); active > limits.Budget {
					t.Fatalf("after %d workspaces %d are active", i+1, active)
				}
				if err := r.state.Check(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// visitor answers dials and closes at once.
type visitor struct {
	state    *core.State
	now      time.Duration
	last     core.LeaseID
	effects  []core.Effect
	occupied bool
}

func (r *visitor) lease() core.LeaseID {
	r.last++
	return r.last
}

func (r *visitor) send(m core.Message) {
	r.now += ms(1)
	r.effects = step(r.state, r.now, m)
}

// answer answers dials and closes until there are none, and returns the grant.
func (r *visitor) answer(dial func(core.ConnID) core.Message) (granted core.Grant) {
	pending := r.effects
	for range 100 { // a dial or two, and as many closes
		if len(pending) == 0 {
			break
		}
		r.effects = nil
		switch e := pending[0].(type) {
		case core.Dial:
			r.send(dial(e.Conn))
		case core.Close:
			r.send(core.Closed{Conn: e.Conn})
		case core.Grant:
			granted = e
		}
		pending = append(pending[1:], r.effects...)
	}
	return granted
}

func succeed(conn core.ConnID) core.Message { return core.DialSucceeded{Conn: conn} }

func (r *visitor) query(id model.WorkspaceID) {
	r.send(core.Acquire{Lease: r.lease(), Workspace: id})
	grant := r.answer(succeed)
	r.send(core.Release{Lease: grant.Lease, Conn: grant.Conn})
}

// occupy takes all slots, once.
func (r *visitor) occupy() {
	for i := 0; i < 4 && !r.occupied; i++ {
		r.send(core.Acquire{Lease: r.lease(), Workspace: model.WorkspaceID(fmt.Sprint("busy-", i/2))})
		r.answer(succeed)
	}
	r.occupied = true
}
