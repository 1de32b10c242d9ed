package pools_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAWorkspaceHasItsOwnSettings(t *testing.T) {
	var most, timeout atomic.Int64 // a timeout of 0 is the Config's
	most.Store(1)
	unknown := errors.New("the plan of w2 is not known")
	m := open(t, config(20), pools.WithWorkspaceSettings(func(_ context.Context, id model.WorkspaceID) (pools.WorkspaceSettings, error) {
		switch id {
		case "w0":
			return pools.WorkspaceSettings{MaxConnections: int(most.Load()), AcquireTimeout: time.Duration(timeout.Load())}, nil
		case "w2":
			return pools.WorkspaceSettings{}, unknown
		case "w3":
			return pools.WorkspaceSettings{MaxWaiters: -1}, nil
		}
		return pools.WorkspaceSettings{}, nil
	}))
	held := func(id model.WorkspaceID) error {
		conn, err := m.Acquire(t.Context(), id)
		if err == nil {
			t.Cleanup(conn.Release)
		}
		return err
	}
	for _, id := range []model.WorkspaceID{"w0", "w1", "w1"} { // w1 has the Config's
		if err := held(id); err != nil {
			t.Fatal(err)
		}
	}
	timeout.Store(int64(20 * time.Millisecond))
	var limit *model.ConnectionLimitError
	err := held("w0")
	if !errors.As(err, &limit) || limit.Limit != model.WorkspaceLimit || limit.MaxPerWorkspace != 1 || !errors.Is(err, model.ErrAcquireTimeout) {
		t.Errorf("beyond its cap: %v", err)
	}
	most.Store(2)
	timeout.Store(0)
	if err := held("w0"); err != nil {
		t.Errorf("with a higher cap: %v", err)
	}
	if err := held("w2"); !errors.Is(err, unknown) {
		t.Errorf("without settings: %v", err)
	}
	if err := held("w3"); err == nil || !strings.Contains(err.Error(), "MaxWaiters is -1: it must be from 0") {
		t.Errorf("with bad ones: %v", err)
	}
}

func TestACallbackOfSettingsThatEndsItsGoroutineCostsNoSlot(t *testing.T) {
	var calls atomic.Int64
	m := open(t, config(20), pools.WithWorkspaceSettings(func(context.Context, model.WorkspaceID) (pools.WorkspaceSettings, error) {
		if calls.Add(1) == 2 { // the first is the acquire's, this one its dial's
			runtime.Goexit()
		}
		return pools.WorkspaceSettings{}, nil
	}))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if st := stats(t, m).Workspaces; st.Dialing != 0 || st.Open() > 1 {
		t.Errorf("%+v", st)
	}
}
