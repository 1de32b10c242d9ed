package property_tests

import (
	"context"
	"errors"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// request carries out one request of a caller.
func (r *actorRun) request(caller int, q actorRequest) {
	time.Sleep(q.think)
	ctx, cancel := context.WithCancel(r.base)
	defer cancel()
	if q.deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, q.deadline)
		defer cancel()
	}
	if q.cancelAfter > 0 {
		ctx, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(q.cancelAfter, cancel).Stop()
	}
	var renewed int
	r.with(func() {
		r.note("caller %d: acquire %s", caller, q.workspace)
		r.now.waiting++
		renewed = r.renewed[q.workspace]
	})
	begin := time.Now()
	l, err := r.supervisor.Acquire(ctx, actorShare, q.workspace, actor.Wait{NoWait: q.noWait, AtMost: q.atMost})
	took := time.Since(begin)
	if err != nil {
		r.with(func() {
			r.now.waiting--
			r.note("caller %d: refused %s: %v", caller, q.workspace, err)
			if took > q.bound() {
				r.fault("caller %d waited %v, its bound is %v", caller, took, q.bound())
			}
			if complaint := q.wrongError(err, took, r.drainedAt <= r.elapsed(), r.stale[q.workspace]); complaint != "" {
				r.fault("caller %d waited %v: %s: %v", caller, took, complaint, err)
			}
			if r.steady {
				r.fault("caller %d was refused although nothing fails: %v", caller, err)
			}
		})
		return
	}
	c, ok := l.Conn().(*actorConn)
	r.with(func() {
		r.now.waiting--
		r.now.held++
		r.grants++
		if !ok {
			r.fault("caller %d got the connection %v", caller, l.Conn())
			c = &actorConn{}
		}
		r.note("caller %d: granted %s, connection %d", caller, q.workspace, c.number)
		r.checkGrant(caller, q, c, l.Waited(), took)
		if c.number < renewed {
			r.fault("I11: caller %d got connection %d, the Renew before its acquire came after dial %d", caller, c.number, renewed-1)
		}
		c.held = true
	})
	time.Sleep(q.hold)
	r.with(func() {
		r.note("caller %d: release connection %d", caller, c.number)
		r.now.held--
		c.held = false
		c.broken = q.health != core.Clean
		if q.twice {
			r.doubles++
		}
	})
	l.Release(q.health)
	if q.twice {
		l.Release(core.Lost)
	}
}

// checkGrant looks at a lease. The caller holds mu.
func (r *actorRun) checkGrant(caller int, q actorRequest, c *actorConn, waited, took time.Duration) {
	if c.workspace != q.workspace {
		r.fault("I4: caller %d got a connection of %s for %s", caller, c.workspace, q.workspace)
	}
	if c.held {
		r.fault("I5: caller %d got connection %d, which another holds", caller, c.number)
	}
	if c.broken {
		r.fault("caller %d got connection %d, which was released broken", caller, c.number)
	}
	if c.closes > 0 {
		r.fault("I5: caller %d got connection %d, which was closed", caller, c.number)
	}
	if took > q.bound() {
		r.fault("caller %d waited %v, its bound is %v", caller, took, q.bound())
	}
	if waited != took {
		r.fault("caller %d waited %v, its lease says %v", caller, took, waited)
	}
	if r.elapsed() > r.drainedAt {
		r.fault("I9: caller %d got connection %d after the drain began", caller, c.number)
	}
}

// wrongError says what is wrong with an Acquire's error.
func (q actorRequest) wrongError(err error, took time.Duration, draining, stale bool) string {
	ended := false
	for _, end := range []struct {
		err error
		at  time.Duration
	}{
		{model.ErrAcquireTimeout, q.atMost},
		{context.DeadlineExceeded, q.deadline},
		{context.Canceled, q.cancelAfter},
	} {
		if !errors.Is(err, end.err) {
			continue
		}
		if end.at == 0 || took != end.at {
			return "the wrong time for this end"
		}
		ended = true
	}
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	fair := false
	id := q.workspace
	switch {
	case errors.As(err, &limit):
		fair, id = ended || q.noWait || limit.Limit == model.QueueLimit, limit.WorkspaceID
	case errors.As(err, &dial):
		fair, id = ended || q.noWait || dial.Kind == model.Permanent, dial.WorkspaceID
		ofStaleDial := stale && dial.Kind == model.Transient && dial.Err == actorFailure{model.Permanent}
		if dial.Err != (actorFailure{dial.Kind}) && !ofStaleDial {
			return "a failure of another kind than its cause"
		}
	case errors.Is(err, model.ErrPaused):
		fair = ended || q.noWait
	case errors.Is(err, model.ErrDialing):
		fair = ended
	case errors.Is(err, model.ErrClosed):
		fair = draining
	default: // the answer was a grant, and it is given back
		fair = ended
	}
	switch {
	case id != q.workspace:
		return "an error of another workspace"
	case !fair:
		return "no reason for this error"
	}
	return ""
}
