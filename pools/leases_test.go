package pools_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

const (
	lentForLong = "has been lent for a long time"
	closeWaits  = "Close waits for connections that are lent"
)

func TestRowsThatNobodyClosesAreReportedOnce(t *testing.T) {
	cfg := config(20)
	cfg.LeaseWarnAfter = longerThanADial(t)
	m := open(t, cfg)
	events, err := m.Events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := m.Workspace("w0").Query(t.Context(), `SELECT generate_series(1, 3)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for range 20 { // which is nobody's fault
		if err := m.Workspace("w1").Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(m.log.String(), lentForLong) })
	line := m.log.line(t, lentForLong, `"workspace_id":"w0"`, `"held_for"`)
	if strings.Contains(line, "acquired_at") {
		t.Errorf("it is traced unasked: %s", line)
	}
	later, err := m.Workspace("w2").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer later.Rollback(t.Context())
	eventually(t, "another one is logged", func() bool { return strings.Contains(m.log.String(), `"workspace_id":"w2"`) })
	reported := map[string]int{}
	for line := range strings.Lines(m.log.String()) {
		for _, id := range []string{"w0", "w1", "w2"} {
			if strings.Contains(line, lentForLong) && strings.Contains(line, `"workspace_id":"`+id+`"`) {
				reported[id]++
			}
		}
	}
	if reported["w0"] != 1 || reported["w1"] != 0 || reported["w2"] != 1 {
		t.Errorf("%v:\n%s", reported, m.log)
	}
	for overdue := 0; overdue < 2; {
		select {
		case e := <-events:
			if e.Kind == model.EventLeaseOverdue && !e.System {
				overdue++
			}
		case <-time.After(patience):
			t.Fatal("there is no event")
		}
	}
}

func TestALeaseIsNotReportedIfNobodyWantsToKnow(t *testing.T) {
	cfg := config(20)
	cfg.LeaseWarnAfter = 0
	m := open(t, cfg)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := conn.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Contains(m.log.String(), lentForLong) {
		t.Error(m.log)
	}
}

func TestTracingTellsWhereAForgottenConnectionWasAcquired(t *testing.T) {
	for how, forget := range map[string]func(*manager) (end func()){
		"Acquire": func(m *manager) func() {
			conn, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			return conn.Release
		},
		"Workspace.Query": func(m *manager) func() {
			rows, err := m.Workspace("w0").Query(t.Context(), `SELECT generate_series(1, 3)`)
			if err != nil {
				t.Fatal(err)
			}
			return rows.Close
		},
		"DB": func(m *manager) func() {
			rows, err := m.Workspace("w0").DB().Query(`SELECT generate_series(1, 3)`)
			if err != nil {
				t.Fatal(err)
			}
			return func() { rows.Close() }
		},
	} {
		t.Run(how, func(t *testing.T) {
			cfg := config(20)
			cfg.LeaseTracing, cfg.LeaseWarnAfter = true, 20*time.Millisecond
			m := open(t, cfg)
			defer forgetHere(m, forget)()
			eventually(t, "it is logged", func() bool { return strings.Contains(m.log.String(), `"workspace_id":"w0"`) })
			line := m.log.line(t, lentForLong, `"workspace_id":"w0"`)
			if !strings.Contains(line, "pools_test.forgetHere") || !strings.Contains(line, "leases_test.go:") {
				t.Errorf("it does not tell where: %s", line)
			}
			if strings.Contains(line, "database/sql.") || strings.Contains(line, "/pools.(") {
				t.Errorf("it tells of what is not the caller's: %s", line)
			}
		})
	}
}

//go:noinline
func forgetHere(m *manager, forget func(*manager) func()) func() { return forget(m) }

func TestCloseSaysForWhomItWaits(t *testing.T) {
	cfg := config(20)
	cfg.LeaseTracing = true
	m := open(t, cfg)
	pools.CloseWaits(m.Manager, time.Millisecond)
	var held []*pools.Conn
	for _, id := range []model.WorkspaceID{"w0", "w1", "w1"} {
		conn, err := m.Acquire(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close(context.Background()) }()
	eventually(t, "it is logged", func() bool { return strings.Contains(m.log.String(), closeWaits) })
	line := m.log.line(t, closeWaits, `"in_use":3`, `"workspace_id":"w0"`, "w0: 1, the oldest for ", "w1: 2, the oldest for ", `"held_for"`)
	if !strings.Contains(line, "TestCloseSaysForWhomItWaits") {
		t.Errorf("it does not tell where: %s", line)
	}
	for _, conn := range held {
		conn.Release()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := strings.Count(m.log.String(), "Close waits"); n != 1 {
		t.Errorf("%d lines:\n%s", n, m.log)
	}
}

func TestACloseThatIsGivenUpBetweenSaysSoInItsOwnWords(t *testing.T) {
	m := open(t, config(20))
	pools.CloseWaits(m.Manager, time.Millisecond)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ctx, stop := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- m.Close(ctx) }()
	eventually(t, "it waits", func() bool { return strings.Contains(m.log.String(), closeWaits) })
	stop()
	if err := <-closed; !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections are in use") {
		t.Error(err)
	}
}

func TestLeasesTellsWhatIsLent(t *testing.T) {
	cfg := config(20)
	cfg.LeaseTracing = true
	m := open(t, cfg)
	leases := func() []model.Lease {
		t.Helper()
		leases, err := m.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return leases
	}
	if all := leases(); len(all) != 0 {
		t.Errorf("before: %+v", all)
	}
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	system, err := m.System().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := leases()
	if len(all) != 2 || all[0].Workspace != "w0" || all[0].System || !all[1].System || all[0].Age < all[1].Age ||
		!strings.HasPrefix(all[0].AcquiredAt, "github.com/tenantpool/tenantpool/pools_test.TestLeasesTellsWhatIsLent ") {
		t.Errorf("%+v", all)
	}
	conn.Release() // into a seat
	if all := leases(); len(all) != 1 || !all[0].System {
		t.Errorf("after the first: %+v", all)
	}
	system.Release()
	if all := leases(); len(all) != 0 {
		t.Errorf("after both: %+v", all)
	}
	closeManager(t, m.Manager)
	if _, err := m.Leases(t.Context()); !errors.Is(err, model.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
