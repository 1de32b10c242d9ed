package core

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tenantpool/tenantpool/model"
)

// DescribeMessage says in a few words what a State is told: the words of the
// transcripts in property_tests/testdata, of counterexamples, and of a replay.
func DescribeMessage(m Message) string {
	switch m := m.(type) {
	case Acquire:
		return fmt.Sprintf("acquire %d %s%s", m.Lease, m.Workspace, when(m.NoWait, " nowait")+when(m.Exclusive, " exclusive")+when(m.Batch, " batch")+
			describeLimits(m.Limits))
	case Cancel:
		return fmt.Sprintf("cancel %d", m.Lease)
	case Release:
		return fmt.Sprintf("release %d conn %d %s%s", m.Lease, m.Conn, m.Health, when(m.At != 0, " at "+m.At.String())+when(m.Before != 0, " before "+m.Before.String()))
	case DialSucceeded:
		return fmt.Sprintf("dialed %d", m.Conn)
	case DialFailed:
		return fmt.Sprintf("dial-failed %d %s%s", m.Conn, m.Kind, when(m.SlotHeld, " slot-held"))
	case Closed:
		return fmt.Sprintf("closed %d", m.Conn)
	case Evict:
		return fmt.Sprintf("evict %d %s", m.Operation, m.Workspace)
	case Renew:
		if m.All {
			return fmt.Sprintf("renew-all %d", m.Operation)
		}
		return fmt.Sprintf("renew %d %s", m.Operation, m.Workspace)
	case Pause:
		return fmt.Sprintf("pause %d %s", m.Operation, m.Workspace)
	case Resume:
		return fmt.Sprintf("resume %s", m.Workspace)
	case SetLimits:
		return fmt.Sprintf("set-limits %d %d", m.Budget, m.PerWorkspace) + when(m.Why != "", ": "+m.Why)
	case SetWorkspaceLimits:
		return fmt.Sprintf("set-workspace-limits %s%s", m.Workspace, describeLimits(m.Limits))
	}
	return strings.ToLower(nameOf(m)) // there is no more to it
}

func describeLimits(l model.WorkspaceLimits) string {
	return when(l.Cap != 0, fmt.Sprintf(" cap=%d", l.Cap)) + when(l.SoftCap != 0, fmt.Sprintf(" soft=%d", l.SoftCap)) +
		when(l.MaxWaiters != 0, fmt.Sprintf(" waiters=%d", l.MaxWaiters))
}

// DescribeEffect says in a few words what a State wants done.
func DescribeEffect(e Effect) string {
	switch e := e.(type) {
	case Grant:
		return fmt.Sprintf("grant %d conn %d of %s after %v%s", e.Lease, e.Conn, e.Workspace, e.Waited, when(e.Verify, " verify"))
	case Reject:
		return fmt.Sprintf("reject %d: %s", e.Lease, describeError(e.Err))
	case Dial:
		return fmt.Sprintf("dial %d for %s%s", e.Conn, e.Workspace, when(e.Batch, " batch"))
	case Close:
		return fmt.Sprintf("close %d of %s: %s%s%s", e.Conn, e.Workspace, e.Reason,
			when(e.IdleFor > 0, fmt.Sprintf(", idle for %v", e.IdleFor)), when(e.For != "", ", for "+string(e.For)))
	case OperationDone:
		return fmt.Sprintf("operation %d done: %d closed", e.Operation, e.Closed)
	case WakeAt:
		if e.At == Never {
			return "wake never"
		}
		return fmt.Sprintf("wake at %v", e.At)
	}
	return strings.ToLower(nameOf(e))
}

// describeError says all that the core says about a refusal.
func describeError(err error) string {
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	switch {
	case errors.As(err, &limit):
		return fmt.Sprintf("%s limit for %s, all %d/%d%s, own %d/%d, waiting %d own %d",
			limit.Limit, limit.WorkspaceID, limit.CurrentConnections, limit.MaxConnections,
			when(limit.Lingering > 0, fmt.Sprintf(" lingering %d", limit.Lingering)),
			limit.CurrentWorkspace, limit.MaxPerWorkspace, limit.Waiting, limit.WaitingWorkspace) +
			when(limit.Limit == model.BatchLimit, fmt.Sprintf(", batch %d/%d", limit.CurrentBatch, limit.MaxBatch))
	case errors.As(err, &dial):
		return fmt.Sprintf("dial of %s failed %s, attempts %d", dial.WorkspaceID, dial.Kind, dial.Attempts)
	case errors.Is(err, model.ErrPaused):
		return "paused"
	case errors.Is(err, model.ErrInUse):
		return "in use"
	case errors.Is(err, model.ErrDialing):
		return "dialing"
	case errors.Is(err, model.ErrClosed):
		return "closed"
	}
	return fmt.Sprintf("unknown error %q", err)
}

func when(condition bool, s string) string {
	if condition {
		return s
	}
	return ""
}

func nameOf(x any) string { return strings.TrimPrefix(fmt.Sprintf("%T", x), "core.") }
