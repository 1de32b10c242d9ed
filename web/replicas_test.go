package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestTheGroupHasAllFiguresOfEachReplica(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.share(exampleGroup())
	status, body := rig.do(Viewer, "/api/admin.replicas", "")
	before, at, _ := strings.Cut(body, `,"at":"`)
	const want = `{"group":"shop","budget":100,"floor":3,"reserve":4,"free":5,"strangers":2,"roleLimit":100,"replicas":[` +
		`{"id":"a1","label":"app-1:311","self":false,"state":"present","ageMs":18000000,"share":60,"granted":57,"wants":60,"open":55,"inUse":50,"idle":5,"waiting":0},` +
		`{"id":"b2","label":"app-2:2077","self":true,"state":"present","ageMs":90000,"share":20,"granted":20,"wants":31,"open":20,"inUse":20,"idle":0,"waiting":14},` +
		`{"id":"c3","label":"app-3:8","self":false,"state":"gone","ageMs":3600000,"share":10,"granted":0,"wants":0,"open":10,"inUse":0,"idle":10,"waiting":0}]`
	if status != http.StatusOK || before != want {
		t.Errorf("%d %s\nwant %s", status, before, want)
	}
	if read, err := time.Parse(time.RFC3339Nano, strings.TrimRight(at, "\"}\n")); err != nil || time.Since(read).Abs() > time.Minute {
		t.Errorf("at %s: %v", at, err)
	}

	rig.pool.group.RoleLimit = -1
	rig.server.group.forget()
	if _, body := rig.do(Viewer, "/api/admin.replicas", ""); !strings.Contains(body, `"roleLimit":null,`) {
		t.Error(body)
	}
}

func TestWithoutAGroupItIsSaidWhy(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.groupErr = fmt.Errorf("shared budget: %w: DB_SHARED_BUDGET is not set, so this process has a budget of its own", errors.ErrUnsupported)
	if status, body := rig.do(Viewer, "/api/admin.replicas", ""); status != http.StatusConflict || !strings.Contains(body, "DB_SHARED_BUDGET is not set") {
		t.Errorf("%d %s", status, body)
	}
	for _, err := range []error{
		errors.New("there is no control session"), context.DeadlineExceeded,
		&model.DialError{Kind: model.Permanent, Err: errors.New("no")},
	} {
		rig.pool.groupErr = err
		rig.server.group.forget()
		status, body := rig.do(Viewer, "/api/admin.replicas", "")
		if status != http.StatusServiceUnavailable || !strings.Contains(strings.ReplaceAll(body, `\`, ""), "the group cannot be read now: "+err.Error()) {
			t.Errorf("%v: %d %s", err, status, body)
		}
	}
	rig.pool.groupErr = model.ErrClosed
	rig.server.group.forget()
	if status, body := rig.do(Viewer, "/api/admin.replicas", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "closed") {
		t.Errorf("%d %s", status, body)
	}
	if _, body := rig.do(Viewer, "/api/admin.connectionStats", ""); strings.Contains(body, `"shared"`) {
		t.Error("a part of no group: ", body)
	}
}

// Many dashboards are one look a second, whether the group can be read or not.
func TestManyWhoAskCostOneLookASecond(t *testing.T) {
	for name, err := range map[string]error{"read": nil, "unreadable": errors.New("no control session")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := newFakePool()
				pool.share(exampleGroup())
				pool.groupErr = err
				s := &Server{pool: pool}
				for range 30 { // three seconds
					var all sync.WaitGroup
					for range 20 {
						all.Go(func() {
							if look, err := s.group.get(t.Context(), s.lookAtGroup); err != nil || (look.err != nil) != (pool.groupErr != nil) {
								t.Error(look, err)
							}
						})
					}
					all.Wait()
					time.Sleep(100 * time.Millisecond)
				}
				if pool.looks != 3 {
					t.Errorf("%d looks in three seconds", pool.looks)
				}
			})
		})
	}
}

func TestAChangeOfTheBudgetShowsAtOnceAndNamesTheRolesLimit(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.share(exampleGroup())
	rig.pool.granted = 100
	if _, body := rig.do(Viewer, "/api/admin.replicas", ""); !strings.Contains(body, `"budget":100,`) {
		t.Fatal(body)
	}
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":100}`, http.StatusOK, `{"maxConnections":100,"maxConnectionsPerDB":3}`)
	rig.pool.group.Budget = 80
	for _, limit := range []int{100, 0} { // 0: there is none
		rig.pool.granted = limit
		if _, body := rig.do(Operator, "/api/admin.setLimits", `{"maxConnections":80}`); !strings.Contains(body, "the role's CONNECTION LIMIT is not the shared budget, 80") {
			t.Error(body)
		}
	}
	if _, body := rig.do(Viewer, "/api/admin.replicas", ""); !strings.Contains(body, `"budget":80,`) {
		t.Error("the answer is from before the change: ", body)
	}
}

func TestAPartOfASharedBudgetIsInTheStatisticsAndTheMetrics(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.share(exampleGroup())
	rig.pool.state.Shared.Refusals = 9
	if _, body := rig.do(Viewer, "/api/admin.connectionStats", ""); !strings.Contains(body, `"shared":{"group":"shop","connected":true,"budget":100,"limit":20,"refusals":9}`) {
		t.Error(body)
	}
	text := rig.scrape()
	for _, line := range []string{
		`tenantpool_shared_budget_connections{group="shop"} 100`, `tenantpool_shared_limit_connections{group="shop"} 20`,
		`tenantpool_shared_connected{group="shop"} 1`, `tenantpool_shared_refusals_total{group="shop"} 9`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if alone := newHandlersRig(t).scrape(); strings.Contains(alone, "tenantpool_shared") {
		t.Error("a pool with a budget of its own has the metrics of a shared one")
	}
}
