package property_tests

import (
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// The words for messages and effects, in counterexamples and in testdata.

var healthNames = []string{"clean", "unclean", "lost"}

func describeLimits(l model.Limits) string {
	return fmt.Sprintf("limits budget=%d cap=%d waiters=%d waiters-each=%d dialing=%d patience=%v lifetime=%v idle=%v verify=%v backoff=%v..%v grace=%v probe=%v seed=%d",
		l.Budget, l.PerWorkspace, l.MaxWaiters, l.MaxWaitersPerWorkspace, l.MaxDialing, l.Patience,
		l.MaxLifetime, l.MaxIdleTime, l.VerifyAfter, l.BackoffMin, l.BackoffMax, l.CloseGrace, l.ProbeAfter, l.Seed)
}

func describeMessage(m model.Message) string {
	switch m := m.(type) {
	case model.Acquire:
		return fmt.Sprintf("acquire %d %s%s", m.Lease, m.Workspace, when(m.NoWait, " nowait"))
	case model.Cancel:
		return fmt.Sprintf("cancel %d", m.Lease)
	case model.Release:
		return fmt.Sprintf("release %d conn %d %s%s%s", m.Lease, m.Conn, healthNames[m.Health],
			when(m.At != 0, " at "+m.At.String()), when(m.PassedOn != 0, fmt.Sprintf(" passed-on %d", m.PassedOn)))
	case model.Reused:
		return fmt.Sprintf("reused %d conn %d passed-on %d", m.Lease, m.Conn, m.PassedOn)
	case model.Horizon:
		if m.At == model.Never {
			return "horizon never"
		}
		return "horizon " + m.At.String()
	case model.DialSucceeded:
		return fmt.Sprintf("dialed %d", m.Conn)
	case model.DialFailed:
		return fmt.Sprintf("dial-failed %d %s%s", m.Conn, m.Kind, when(m.SlotHeld, " slot-held"))
	case model.Closed:
		return fmt.Sprintf("closed %d", m.Conn)
	case model.Evict:
		return fmt.Sprintf("evict %d %s", m.Operation, m.Workspace)
	case model.Pause:
		return fmt.Sprintf("pause %d %s", m.Operation, m.Workspace)
	case model.Resume:
		return fmt.Sprintf("resume %s", m.Workspace)
	case model.SetLimits:
		return fmt.Sprintf("set-limits %d %d", m.Budget, m.PerWorkspace)
	case model.Drain:
		return "drain"
	case model.Tick:
		return "tick"
	}
	return fmt.Sprintf("unknown message %T", m)
}

func describeEffect(e model.Effect) string {
	switch e := e.(type) {
	case model.Grant:
		return fmt.Sprintf("grant %d conn %d of %s after %v%s", e.Lease, e.Conn, e.Workspace, e.Waited, when(e.Verify, " verify"))
	case model.Reject:
		return fmt.Sprintf("reject %d: %s", e.Lease, describeError(e.Err))
	case model.Dial:
		return fmt.Sprintf("dial %d for %s", e.Conn, e.Workspace)
	case model.Close:
		return fmt.Sprintf("close %d of %s: %s%s%s", e.Conn, e.Workspace, e.Reason,
			when(e.IdleFor > 0, fmt.Sprintf(", idle for %v", e.IdleFor)), when(e.For != "", fmt.Sprintf(", for %s", e.For)))
	case model.OperationDone:
		return fmt.Sprintf("operation %d done: %d closed", e.Operation, e.Closed)
	case model.WakeAt:
		if e.At == model.Never {
			return "wake never"
		}
		return fmt.Sprintf("wake at %v", e.At)
	case model.Drained:
		return "drained"
	}
	return fmt.Sprintf("unknown effect %T", e)
}

// describeError says all that the rules fix about a refusal. It leaves out whose
// the longest lease is, because of several equally old ones any may be named.
func describeError(err error) string {
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	switch {
	case errors.As(err, &limit):
		return fmt.Sprintf("%s limit for %s, all %d/%d, own %d/%d, waiting %d own %d, longest lease %v%s",
			limit.Limit, limit.WorkspaceID, limit.CurrentConnections, limit.MaxConnections,
			limit.CurrentWorkspace, limit.MaxPerWorkspace, limit.Waiting, limit.WaitingWorkspace,
			limit.LongestLease, when(limit.Cause != nil, ", with a cause"))
	case errors.As(err, &dial):
		return fmt.Sprintf("dial of %s failed %s, attempts %d", dial.WorkspaceID, dial.Kind, dial.Attempts)
	case errors.Is(err, model.ErrPaused):
		return "paused"
	case errors.Is(err, model.ErrDialing):
		return "dialing"
	case errors.Is(err, model.ErrClosed):
		return "closed"
	}
	return fmt.Sprintf("unknown error %v", err)
}

func when(condition bool, s string) string {
	if condition {
		return s
	}
	return ""
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
