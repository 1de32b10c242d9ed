package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestAWorkspacesSettingsAreToldAndChanged(t *testing.T) {
	rig := newHandlersRig(t)
	const path = "/api/workspace.settings"
	ask := func(id, given string) string { return `{"workspaceId":"` + id + `"` + given + `}` }
	const (
		none = `,"maxConnections":0,"softMaxConnections":0,"maxWaiters":0,"acquireTimeoutMs":0,"role":"","statementTimeoutMs":0`
		all  = `,"maxConnections":5,"softMaxConnections":2,"maxWaiters":9,"acquireTimeoutMs":1500,"role":"tenant","statementTimeoutMs":2000`
		less = `,"maxConnections":4,"softMaxConnections":0,"maxWaiters":9,"acquireTimeoutMs":1500,"role":"tenant","statementTimeoutMs":2000`
	)
	rig.want(Operator, path, ask("ws_001", ""), http.StatusOK, ask("ws_001", none))
	rig.want(Operator, path, ask("ws_001", all), http.StatusOK, ask("ws_001", all))
	rig.audited("workspace settings", "ws_001", "set", "") // and not that it was asked for
	rig.want(Operator, path, ask("ws_001", `,"maxConnections":4,"softMaxConnections":0`), http.StatusOK, ask("ws_001", less))
	for given, wrong := range map[string]string{
		`,"softMaxConnections":5,"role":"none"`: `softMaxConnections is 5: it must be at most maxConnections, which is 4; role is "none"`,
		`,"statementTimeoutMs":2147483648`:      "statementTimeoutMs is 2147483648: it must be from 0",
		`,"acquireTimeoutMs":-1`:                "acquireTimeoutMs is -1: it must be from 0",
		`,"maxWaiters":-1`:                      "maxWaiters is -1: it must be from 0",
	} {
		rig.refused(Operator, path, ask("ws_001", given), http.StatusBadRequest, wrong)
	}
	rig.want(Operator, path, ask("ws_001", ""), http.StatusOK, ask("ws_001", less))
	rig.want(Operator, path, ask("ws_002", none), http.StatusOK, ask("ws_002", none))
	rig.audited("workspace settings", "ws_002", "none of its own", "")

	rig.pool.set = func(context.Context, model.WorkspaceID, model.WorkspaceSettings) error {
		return fmt.Errorf("set: %w: there is no table of settings", errors.ErrUnsupported)
	}
	rig.refused(Operator, path, ask("ws_003", all), http.StatusConflict, "there is no table of settings")
	rig.audited("workspace settings", "ws_003", "failed", "there is no table of settings")
}

func TestAWorkspacesOwnCapsAreInTheStats(t *testing.T) {
	st := model.Stats{Workspaces: model.BudgetStats{PerWorkspace: 3, Active: []model.WorkspaceStats{
		{ID: "own", Cap: 8, SoftCap: 2}, {ID: "all", Cap: 3, SoftCap: 3},
	}}}
	pools := newConnectionStats(st, firstPage).WorkspacePools
	if own, all := pools["own"], pools["all"]; own.MaxOpen != 8 || own.SoftMaxOpen != 2 || all.MaxOpen != 3 || all.SoftMaxOpen != 0 {
		t.Errorf("%+v, %+v", own, all)
	}
}
