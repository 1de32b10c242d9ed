package web

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestUsageHasTheFirstAndTheSumOfTheOthers(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Viewer, "/api/admin.usage", "", http.StatusOK,
		`{"workspaces":[],"known":0,"others":{"acquires":0,"waits":0,"refused":0,"dials":0,"waitedMs":0,"lentMs":0}}`)
	rig.pool.used = model.Usage{
		Workspaces: []model.WorkspaceUsage{
			{ID: "a", Acquires: 5, Waits: 2, Refused: 1, Dials: 3, Waited: 1500 * time.Microsecond, Lent: 2 * time.Second},
			{ID: "b", Acquires: 4, Lent: time.Second},
			{ID: "c", Acquires: 2, Lent: time.Millisecond},
		},
		Others: model.WorkspaceUsage{Acquires: 100, Waited: time.Millisecond},
	}
	rig.want(Viewer, "/api/admin.usage?limit=1", "", http.StatusOK,
		`{"workspaces":[{"workspaceId":"a","acquires":5,"waits":2,"refused":1,"dials":3,"waitedMs":1.5,"lentMs":2000}],"known":3,`+
			`"others":{"acquires":106,"waits":0,"refused":0,"dials":0,"waitedMs":1,"lentMs":1001}}`)
	for query, want := range map[string]string{
		"limit=1001": `limit is "1001": it must be from 1 to 1000`, "limit=few": `limit is "few": it must be from 1 to 1000`,
		"order=1": `there is no parameter "order" here: limit is`, "limit=1&limit=2": `the parameter "limit" is given 2 times`,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readUsageLimit(values); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}
