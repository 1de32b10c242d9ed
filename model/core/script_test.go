package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// The tests of this package are scripts: a message, the time it arrives, and
// the effects that the rules of doc.go ask for, one short line each:
//
//	dial 1 a, dial 1 a batch     grant 2 conn 1 a after 5ms verify
//	close 1 a make_room idle 5ms for b
//	wake 5s, wake never          done 7 closed 2
//	reject 2: ... (see refusal)  drained
//
// Every step also ends with a Reclaim, if that closes anything, and with Check.
type script struct {
	*State
	t *testing.T
}

const ms = time.Millisecond

var errRefused = errors.New("refused")

// limits leaves out what a test does not ask for: connections live for ever and
// are never verified. A back-off of one nanosecond is too short for a jitter.
func limits(budget, perWorkspace int) model.Limits {
	return model.Limits{
		Budget: budget, PerWorkspace: perWorkspace,
		MaxWaiters: 100, MaxWaitersPerWorkspace: 100, MaxDialing: 10,
		Patience: 20 * ms, CloseGrace: 100 * ms, ProbeAfter: 500 * ms,
		BackoffMin: 1, BackoffMax: 1,
	}
}

func start(t *testing.T, l model.Limits) script { return script{State: NewState(l), t: t} }

// at takes one step.
func (s script) at(now time.Duration, m Message, want ...string) {
	s.t.Helper()
	var got []string
	for _, e := range s.Step(now, m) {
		got = append(got, line(e))
	}
	if s.Reclaimable() {
		for _, e := range s.Step(now, Reclaim{}) {
			got = append(got, line(e))
		}
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("at %v %T%+v\n got: %s\nwant: %s", now, m, m, strings.Join(got, " | "), strings.Join(want, " | "))
	}
	if err := s.Check(); err != nil {
		s.t.Fatalf("after %T%+v at %v: %v", m, m, now, err)
	}
}

// lent puts lease n on connection n, freshly dialed: the first of a script is
// number 1, and so on.
func (s script) lent(n uint64, w model.WorkspaceID) {
	s.t.Helper()
	s.at(s.now, acquire(LeaseID(n), w), fmt.Sprintf("dial %d %s", n, w))
	s.at(s.now, DialSucceeded{ConnID(n)}, fmt.Sprintf("grant %d conn %d %s", n, n, w))
}

// parked leaves connection n idle.
func (s script) parked(n uint64, w model.WorkspaceID) {
	s.t.Helper()
	s.lent(n, w)
	s.at(s.now, release(LeaseID(n), ConnID(n)))
}

func acquire(lease LeaseID, w model.WorkspaceID) Message { return Acquire{Lease: lease, Workspace: w} }
func noWait(lease LeaseID, w model.WorkspaceID) Message {
	return Acquire{Lease: lease, Workspace: w, NoWait: true}
}
func release(lease LeaseID, c ConnID) Message         { return Release{Lease: lease, Conn: c} }
func unclean(lease LeaseID, c ConnID) Message         { return Release{Lease: lease, Conn: c, Health: Unclean} }
func failed(c ConnID, kind model.FailureKind) Message { return DialFailed{c, kind, errRefused, false} }

func line(e Effect) string {
	switch e := e.(type) {
	case Grant:
		s := fmt.Sprintf("grant %d conn %d %s", e.Lease, e.Conn, e.Workspace)
		if e.Waited != 0 {
			s += fmt.Sprintf(" after %v", e.Waited)
		}
		if e.Verify {
			s += " verify"
		}
		return s
	case Reject:
		return fmt.Sprintf("reject %d: %s", e.Lease, refusal(e.Err))
	case Dial:
		s := fmt.Sprintf("dial %d %s", e.Conn, e.Workspace)
		if e.Batch {
			s += " batch"
		}
		return s
	case Close:
		s := fmt.Sprintf("close %d %s %s", e.Conn, e.Workspace, e.Reason)
		if e.IdleFor != 0 {
			s += fmt.Sprintf(" idle %v", e.IdleFor)
		}
		if e.For != "" {
			s += fmt.Sprintf(" for %s", e.For)
		}
		return s
	case OperationDone:
		return fmt.Sprintf("done %d closed %d", e.Operation, e.Closed)
	case WakeAt:
		if e.At == Never {
			return "wake never"
		}
		return fmt.Sprintf("wake %v", e.At)
	case Drained:
		return "drained"
	}
	return fmt.Sprintf("unknown effect %T", e)
}

// refusal is an error's content in few words: all fields of a limit error, or
// kind, workspace and attempts of a dial error, or the name of a sentinel after
// the text that wraps it.
func refusal(err error) string {
	switch e := err.(type) {
	case *model.ConnectionLimitError:
		s := fmt.Sprintf("%s limit of %s: open %d of %d, own %d of %d, waiting %d own %d", e.Limit, e.WorkspaceID,
			e.CurrentConnections, e.MaxConnections, e.CurrentWorkspace, e.MaxPerWorkspace, e.Waiting, e.WaitingWorkspace)
		if e.EffectiveBudget != e.MaxConnections {
			s += fmt.Sprintf(", effective %d", e.EffectiveBudget)
		}
		return s
	case *model.DialError:
		return fmt.Sprintf("%s dial of %s, attempt %d: %v", e.Kind, e.WorkspaceID, e.Attempts, e.Err)
	}
	for name, sentinel := range map[string]error{"ErrClosed": model.ErrClosed, "ErrPaused": model.ErrPaused, "ErrInUse": model.ErrInUse, "ErrDialing": model.ErrDialing} {
		if errors.Is(err, sentinel) {
			return strings.TrimSuffix(err.Error(), sentinel.Error()) + name
		}
	}
	return err.Error()
}
