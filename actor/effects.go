package actor

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// carryOut turns one decision of a share's core into a reply, a goroutine or a
// note. It never blocks: every channel it sends to has room.
func (s *Supervisor) carryOut(sh *share, effect core.Effect) {
	switch e := effect.(type) {
	case core.Grant:
		sh.waits.Observe(e.Waited)
		if e.Waited > 0 {
			used := sh.usage.of(e.Workspace)
			used.Waits++
			used.Waited += e.Waited
		}
		c := sh.slots[e.Conn]
		asked := e.Caller.(*call).message
		if asked.Exclusive {
			c.stale = true // nobody else gets it: it must not go into a seat
			c.seats.stale++
		}
		l := c.lend(s.loop.now)
		c.granted = granted{
			turn: l.turn, since: s.loop.now, waited: e.Waited, verify: e.Verify, batch: asked.Batch, outcome: s.outcome(e),
		}
		c.lease, c.counted = e.Lease, l.turn
		sh.lease(c)
		s.answer(e.Caller, reply{lease: l})
	case core.Reject:
		s.nameOldestLease(sh, e.Err) // before the error is its receiver's
		s.noteReject(sh, e.Err)
		sh.usage.of(e.Caller.(*call).message.Workspace).Refused++
		s.noteRefused(sh, e.Caller.(*call))
		s.answer(e.Caller, reply{err: e.Err})
	case core.Dial:
		sh.usage.of(e.Workspace).Dials++
		go s.dial(sh, e, 1+sh.state.DialFailures(e.Workspace))
	case core.Close:
		s.noteClose(sh, e)
		c := sh.slots[e.Conn]
		delete(sh.slots, e.Conn)
		c.seats.forget(c)
		s.update(c.seats)
		go s.close(sh, e, c.conn)
	case core.OperationDone:
		sh.operations[e.Operation] <- e.Closed
		delete(sh.operations, e.Operation)
	case core.WakeAt:
		sh.wakeAt = e.At
	case core.Drained:
		sh.drained = true
	default:
		panic(fmt.Sprintf("actor: unknown effect %T", e))
	}
}

func (s *Supervisor) answer(caller any, r reply) {
	c := caller.(*call)
	ts := c.seats
	c.seats = nil
	ts.waiting--
	s.update(ts)
	c.reply <- r // from now on it is its caller's again
}

// dialAttempt is the key of what DialAttempt returns.
type dialAttempt struct{}

// DialAttempt is which one a Dial with that context is: 1, and one more for each dial of
// the workspace that has failed since the last one that succeeded.
func DialAttempt(ctx context.Context) int {
	attempt, _ := ctx.Value(dialAttempt{}).(int)
	return attempt
}

// dial is a worker: it posts exactly one result.
func (s *Supervisor) dial(sh *share, d core.Dial, attempt int) {
	began := time.Now()
	conn, err := sh.dialer.Dial(context.WithValue(sh.dialing, dialAttempt{}, attempt), d.Workspace)
	took := time.Since(began)
	s.send(do(func() { s.dialed(sh, d, conn, err, took) }))
}

// close is a worker: it posts exactly one result.
func (s *Supervisor) close(sh *share, c core.Close, conn Conn) {
	began := time.Now()
	conn.Close(c.Reason)
	took := time.Since(began)
	s.send(do(func() {
		sh.notes.closes.add(took)
		s.tell(sh, core.Closed{Conn: c.Conn})
	}))
}
