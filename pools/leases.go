package pools

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// Leases returns what is lent at one moment, the oldest first, without what the manager
// has lent to itself. It blocks and fails as [Manager.Stats] does.
func (m *Manager) Leases(ctx context.Context) ([]model.Lease, error) {
	held, err := m.supervisor.Leases(ctx)
	if err != nil {
		return nil, err
	}
	leases := make([]model.Lease, 0, len(held))
	for _, l := range held {
		if l.Workspace == managersOwn || l.Lease.Ended() {
			continue
		}
		leases = append(leases, model.Lease{Workspace: l.Workspace, System: l.Share == systemShare, Age: l.Age, AcquiredAt: acquiredAt(l)})
	}
	return leases, nil
}

// watchLeases logs every lease that is held for longer than Config.LeaseWarnAfter, once,
// until ctx is done.
func (m *Manager) watchLeases(ctx context.Context) {
	for {
		overdue, next, err := m.supervisor.OverdueLeases(ctx, m.config.LeaseWarnAfter)
		if err != nil {
			return // ctx is done, or the supervisor has ended
		}
		for _, l := range overdue {
			m.log.Warn("A connection has been lent for a long time: are rows, a row, a batch or a transaction left open?", aboutLease(l)...)
		}
		if within(ctx.Done(), next) {
			return
		}
	}
}

func aboutLease(l actor.HeldLease) []any {
	about := []any{"workspace_id", l.Workspace, "held_for", l.Age.Round(time.Millisecond).String()}
	if where := acquiredAt(l); where != "" {
		about = append(about, "acquired_at", where)
	}
	return about
}

// What Close waits for is logged after a while, and seldom after that.
const (
	closeWaits      = 5 * time.Second
	closeWaitsStill = time.Minute
)

// drain blocks until all connections are closed, and logs what it waits for.
func (m *Manager) drain(ctx context.Context) error {
	for patience := m.closeWaits; ; patience = closeWaitsStill {
		soon, stop := context.WithTimeout(ctx, patience)
		err := m.supervisor.Drain(soon)
		stop()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return m.supervisor.Drain(ctx) // in ctx's words
		}
		m.logWhatCloseWaitsFor(ctx)
	}
}

func (m *Manager) logWhatCloseWaitsFor(ctx context.Context) {
	st, err := m.Stats(ctx)
	if err != nil {
		return // it has ended meanwhile
	}
	leases, err := m.supervisor.Leases(ctx)
	if err != nil {
		return
	}
	log := m.log.With(
		"in_use", st.Workspaces.InUse+st.System.InUse,
		"dialing", st.Workspaces.Dialing+st.System.Dialing,
		"closing", st.Workspaces.Closing+st.System.Closing,
	)
	if len(leases) == 0 {
		log.Warn("Close waits until the server has let go of connections")
		return
	}
	log.With("workspaces", borrowers(leases)).
		Warn("Close waits for connections that are lent; workspace_id is who has held one for longest", aboutLease(leases[0])...)
}

// borrowers says who has how many leases, and since when. The leases are in the order
// of their age.
func borrowers(leases []actor.HeldLease) string {
	const told = 10
	type borrower struct {
		share     actor.ShareIndex
		workspace model.WorkspaceID
	}
	var order []borrower
	with := make(map[borrower][]actor.HeldLease)
	for _, l := range leases {
		b := borrower{l.Share, l.Workspace}
		if with[b] == nil {
			order = append(order, b)
		}
		with[b] = append(with[b], l)
	}
	var words []string
	for _, b := range order[:min(told, len(order))] {
		oldest := with[b][0].Age.Round(time.Millisecond)
		words = append(words, fmt.Sprintf("%s: %d, the oldest for %v", b.workspace, len(with[b]), oldest))
	}
	if more := len(order) - told; more > 0 {
		words = append(words, fmt.Sprintf("and %d more workspaces", more))
	}
	return strings.Join(words, "; ")
}

// callers is the stack of the acquire that began a lease.
type callers []uintptr

func newCallers() *callers {
	var found [32]uintptr
	t := callers(slices.Clone(found[:runtime.Callers(3, found[:])]))
	return &t
}

// acquiredAt is empty without Config.LeaseTracing, and when the lease has just ended.
func acquiredAt(l actor.HeldLease) string {
	b, ok := l.Lease.Conn().(*backend)
	if !ok {
		return ""
	}
	t := b.acquired.Load()
	if t == nil || l.Lease.Ended() { // it may be the next one's
		return ""
	}
	return t.String()
}

// String has one line for each function, without this package's and database/sql's.
func (t callers) String() string {
	const ours = "github.com/tenantpool/tenantpool/pools."
	var out strings.Builder
	frames := runtime.CallersFrames(t)
	for more := len(t) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, ours) || strings.HasPrefix(f.Function, "database/sql.") || f.Function == "runtime.goexit" {
			continue
		}
		fmt.Fprintf(&out, "%s %s:%d\n", f.Function, f.File, f.Line)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
