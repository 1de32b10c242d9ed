package property_tests

import (
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// property watches a run. Each of its functions may be nil, and returns what is
// wrong, or "".
type property struct {
	// before sees an effect when the ledger does not know it yet.
	before func(l *ledger, e core.Effect) string
	// after sees a whole step.
	after func(l *ledger, e entry) string
}

// run is one generated log on its way through a core.
type run struct {
	t      *rapid.T
	core   machine
	step   func(machine, time.Duration, core.Message) []core.Effect
	limits model.Limits
	ledger *ledger
	log    []entry
	watch  []property
	next   uint64
	// dialedFor remembers each connection's workspace for ever.
	dialedFor map[core.ConnID]model.WorkspaceID
}

func newRun(t *rapid.T, limits model.Limits, watch ...property) *run {
	return &run{
		t: t, core: newCore(limits), step: step, limits: limits, ledger: newLedger(limits), watch: watch,
		dialedFor: map[core.ConnID]model.WorkspaceID{},
	}
}

func (r *run) fail(message string) {
	r.t.Helper()
	r.t.Fatalf("%s\nafter: %s", message, transcript(r.limits, r.log))
}

func (r *run) follow(orders []order) {
	for _, o := range orders {
		r.next++
		if m := o.message(r.ledger, r.next); m != nil {
			r.send(entry{at: o.at(r.ledger), message: m})
		}
	}
}

func (r *run) send(e entry) {
	e.effects = r.step(r.core, e.at, e.message)
	r.log = append(r.log, e)
	r.ledger.message(e.at, e.message)
	for _, effect := range e.effects {
		if dial, ok := effect.(core.Dial); ok {
			r.dialedFor[dial.Conn] = dial.Workspace
		}
		for _, p := range r.watch {
			if p.before != nil {
				if wrong := p.before(r.ledger, effect); wrong != "" {
					r.fail(core.DescribeEffect(effect) + ": " + wrong)
				}
			}
		}
		r.ledger.effect(effect)
	}
	for _, p := range r.watch {
		if p.after != nil {
			if wrong := p.after(r.ledger, e); wrong != "" {
				r.fail(wrong)
			}
		}
	}
}

// settle answers all dials and closes until nothing is under way.
func (r *run) settle() {
	for range 1000 {
		if open := r.ledger.in(closing); len(open) > 0 {
			r.send(entry{at: r.ledger.now, message: core.Closed{Conn: open[0].id}})
		} else if open := r.ledger.in(dialing); len(open) > 0 {
			r.send(entry{at: r.ledger.now, message: core.DialSucceeded{Conn: open[0].id}})
		} else {
			return
		}
	}
	r.fail("it dials and closes for ever")
}

// bringHome releases all leases.
func (r *run) bringHome() {
	for range 1000 {
		open := r.ledger.in(inUse)
		if len(open) == 0 {
			return
		}
		r.send(entry{at: r.ledger.now, message: core.Release{Lease: open[0].lease, Conn: open[0].id}})
	}
	r.fail("it grants for ever")
}

// check runs generated logs under the eyes of properties.
func check(t *testing.T, m mix, watch ...property) {
	t.Helper()
	generator := orders(m)
	often(t, func(t *rapid.T) {
		newRun(t, someLimits(t), watch...).follow(generator.Draw(t, "orders"))
	})
}

// often checks six times as much as rapid does by itself, in the long form: the rarest
// differences show up in one of some hundred logs.
func often(t *testing.T, property func(*rapid.T)) {
	times := 1
	if os.Getenv("TENANTPOOL_TEST_LONG") == "1" && !underRaceDetector { // which finds nothing in one goroutine
		times = 6
	}
	for range times {
		rapid.Check(t, property)
	}
}

// effectsOf picks the effects of one type.
func effectsOf[E core.Effect](effects []core.Effect) []E {
	var of []E
	for _, e := range effects {
		if e, ok := e.(E); ok {
			of = append(of, e)
		}
	}
	return of
}

func isPaused(l *ledger, id model.WorkspaceID) bool { return slices.Contains(l.paused, id) }
