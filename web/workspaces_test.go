package web

import (
	"net/http"
	"slices"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestAWorkspaceIsCreatedListedAndDeleted(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.workspaces = nil
	rig.want(Operator, "/api/workspace.list", "", http.StatusOK, `{"workspaces":[]}`)
	rig.want(Operator, "/api/workspace.create", `{"workspaceId":"b"}`, http.StatusCreated, `{"workspaceId":"b"}`)
	rig.want(Operator, "/api/workspace.create", `{"workspaceId":"a"}`, http.StatusCreated, `{"workspaceId":"a"}`)
	rig.want(Operator, "/api/workspace.list", "", http.StatusOK, `{"workspaces":["a","b"]}`)
	rig.want(Operator, "/api/workspace.delete", `{"workspaceId":"b","confirm":"b"}`, http.StatusOK, `{"workspaceId":"b"}`)
	rig.want(Operator, "/api/workspace.list", "", http.StatusOK, `{"workspaces":["a"]}`)
	rig.audited("create workspace", "b", "created", "")
	rig.audited("delete workspace", "b", "deleted", "")
}

func TestTheListComesInPages(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.workspaces = []model.WorkspaceID{"b1", "a3", "a1", "a2"}
	const path = "/api/workspace.list"
	for query, want := range map[string]string{
		"":                           `{"workspaces":["a1","a2","a3","b1"]}`,
		"?limit=2":                   `{"workspaces":["a1","a2"],"next":"a2"}`,
		"?limit=2&after=a2":          `{"workspaces":["a3","b1"],"next":"b1"}`,
		"?limit=2&after=b1":          `{"workspaces":[]}`,
		"?prefix=a&limit=2":          `{"workspaces":["a1","a2"],"next":"a2"}`,
		"?prefix=a&limit=2&after=a2": `{"workspaces":["a3"]}`,
		"?prefix=c":                  `{"workspaces":[]}`,
	} {
		rig.want(Operator, path+query, "", http.StatusOK, want)
	}
	for query, want := range map[string]string{
		"?limit=0": "from 1 to 10000", "?limit=10001": "from 1 to 10000", "?limit=x": "from 1 to 10000",
		"?after=a/b": "after is no part of an id", "?prefix=%25": "prefix is no part of an id", "?prefix=a&prefix=b": "2 times",
		"?search=a": "after, prefix and limit are",
	} {
		rig.refused(Operator, path+query, "", http.StatusBadRequest, want)
	}
}

func TestAWorkspaceIsACopyOfWhatIsNamed(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Operator, "/api/workspace.create", `{"workspaceId":"a","template":"golden"}`, http.StatusCreated, `{"workspaceId":"a"}`)
	rig.want(Operator, "/api/workspace.create", `{"workspaceId":"b","from":"a"}`, http.StatusCreated, `{"workspaceId":"b"}`)
	if calls := rig.pool.done(); !slices.Equal(calls, []string{"create a model.FromTemplate golden", "create b model.FromWorkspace a"}) {
		t.Errorf("%q", calls)
	}
	rig.audited("create workspace", "a", `created from the template "golden"`, "")
	rig.audited("create workspace", "b", `created from the workspace "a"`, "")
	rig.refused(Operator, "/api/workspace.create", `{"workspaceId":"c","from":"a","template":"golden"}`, http.StatusBadRequest, "a copy of one")
	rig.refused(Operator, "/api/workspace.create", `{"workspaceId":"c","from":"nobody"}`, http.StatusNotFound, "the workspace in from has no database")
}

func TestAWorkspaceThatExistsOrDoesNotIsSaidSo(t *testing.T) {
	rig := newHandlersRig(t)
	rig.refused(Operator, "/api/workspace.create", `{"workspaceId":"ws_001"}`, http.StatusConflict, "has a database already")
	rig.refused(Operator, "/api/workspace.delete", `{"workspaceId":"nobody","confirm":"nobody"}`, http.StatusNotFound, "has no database")
	rig.audited("create workspace", "ws_001", "failed", "has a database already")
	rig.audited("delete workspace", "nobody", "failed", "has no database")
}

func TestADeleteWantsTheNameTwice(t *testing.T) {
	rig := newHandlersRig(t)
	for _, body := range []string{
		`{"workspaceId":"ws_001"}`, `{"workspaceId":"ws_001","confirm":""}`, `{"workspaceId":"ws_001","confirm":"ws_002"}`, `{"workspaceId":"ws_001","confirm":"WS_001"}`,
	} {
		rig.refused(Operator, "/api/workspace.delete", body, http.StatusBadRequest, "confirm must repeat the workspaceId")
	}
	if calls := rig.pool.done(); len(calls) != 0 || !slices.Contains(rig.pool.workspaces, "ws_001") {
		t.Errorf("%q", calls)
	}
}

func TestADatabaseInUseByOthersIsDeletedWithForce(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.inUse = true
	rig.refused(Operator, "/api/workspace.delete", `{"workspaceId":"ws_001","confirm":"ws_001"}`, http.StatusUnprocessableEntity, "with force")
	rig.refused(Operator, "/api/workspace.delete", `{"workspaceId":"ws_001","confirm":"ws_002","force":true}`, http.StatusBadRequest, "confirm must repeat")
	rig.want(Operator, "/api/workspace.delete", `{"workspaceId":"ws_001","confirm":"ws_001","force":true}`, http.StatusOK, `{"workspaceId":"ws_001"}`)
	rig.audited("delete workspace", "ws_001", "failed", "55006")
	rig.audited("delete workspace with force", "ws_001", "deleted", "")
}

func TestAWorkspaceIsRenamed(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.workspaces = []model.WorkspaceID{"a", "b"}
	rig.want(Operator, "/api/workspace.rename", `{"workspaceId":"a","to":"c"}`, http.StatusOK, `{"workspaceId":"c"}`)
	rig.want(Operator, "/api/workspace.list", "", http.StatusOK, `{"workspaces":["b","c"]}`)
	rig.audited("rename workspace", "a", `renamed to "c"`, "")
	rig.refused(Operator, "/api/workspace.rename", `{"workspaceId":"a","to":"d"}`, http.StatusNotFound, "has no database")
	rig.refused(Operator, "/api/workspace.rename", `{"workspaceId":"b","to":"c"}`, http.StatusConflict, "the workspace in to has a database already")
}
