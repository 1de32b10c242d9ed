package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestEvictClosesAndAuditsOneLine(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Operator, "/api/admin.evictWorkspace", `{"workspaceId":"ws_003"}`, http.StatusOK, `{"workspaceId":"ws_003","closed":2}`)
	rig.want(Operator, "/api/admin.evictWorkspace", `{"workspaceId":"nobody"}`, http.StatusOK, `{"workspaceId":"nobody","closed":0}`)
	rig.audited("evict", "ws_003", "2 closed", "")
	if calls := rig.pool.done(); !slices.Equal(calls, []string{"evict ws_003", "evict nobody"}) {
		t.Errorf("%q", calls)
	}
}

func TestARenewalClosesAndAuditsOneLine(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Operator, "/api/admin.renewWorkspace", `{"workspaceId":"ws_003"}`, http.StatusOK, `{"workspaceId":"ws_003","closed":2}`)
	rig.want(Operator, "/api/admin.renewAll", `{}`, http.StatusOK, `{"closed":10}`)
	rig.audited("renew", "ws_003", "2 closed", "")
	rig.audited("renew all", "", "10 closed", "")
	if calls := rig.pool.done(); !slices.Equal(calls, []string{"renew ws_003", "renew all"}) {
		t.Errorf("%q", calls)
	}
}

// audited wants exactly one audit line of the action on the workspace.
func (rig *handlersRig) audited(action, workspace, result, failure string) {
	rig.t.Helper()
	found := 0
	for _, line := range rig.log.audits(rig.t) {
		if line["audit"] != action || workspace != "" && line["workspace_id"] != workspace {
			continue
		}
		found++
		if line["subject"] != "the operator" || line["result"] != result || line["request_id"] == "" {
			rig.t.Errorf("%v", line)
		}
		if text, _ := line["error"].(string); !strings.Contains(text, failure) || (text == "") != (failure == "") {
			rig.t.Errorf("%v", line)
		}
	}
	if found != 1 {
		rig.t.Errorf("%d audit lines of %s %s in\n%s", found, action, workspace, rig.log)
	}
}

func TestEachControlSaysInTheAuditThatItFailed(t *testing.T) {
	rig := newHandlersRig(t)
	closed := fmt.Errorf("evict workspace %q: %w", "ws_001", model.ErrClosed)
	rig.pool.evict = func(context.Context, model.WorkspaceID) (int, error) { return 0, closed }
	rig.pool.pause = rig.pool.evict
	rig.pool.renew = rig.pool.evict
	rig.pool.limit = func(context.Context, int, int) error { return closed }
	for path, body := range map[string]string{
		"evictWorkspace": `{"workspaceId":"ws_001"}`,
		"renewWorkspace": `{"workspaceId":"ws_001"}`,
		"renewAll":       `{}`,
		"pauseWorkspace": `{"workspaceId":"ws_001"}`,
		"setLimits":      `{"maxConnections":50}`,
	} {
		rig.refused(Operator, "/api/admin."+path, body, http.StatusServiceUnavailable, "closed")
	}
	rig.audited("evict", "ws_001", "failed", "manager is closed")
	rig.audited("renew", "ws_001", "failed", "manager is closed")
	rig.audited("renew all", "", "failed", "manager is closed")
	rig.audited("pause", "ws_001", "failed", "manager is closed")
	rig.audited("set limits", "", "failed", "manager is closed")
}

func TestPauseAndResume(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Operator, "/api/admin.pauseWorkspace", `{"workspaceId":"ws_001"}`, http.StatusOK, `{"workspaceId":"ws_001","paused":true,"done":true,"closed":0}`)
	if !rig.pool.paused["ws_001"] {
		t.Error("not paused")
	}
	rig.want(Operator, "/api/admin.resumeWorkspace", `{"workspaceId":"ws_001"}`, http.StatusOK, `{"workspaceId":"ws_001","paused":false}`)
	if rig.pool.paused["ws_001"] {
		t.Error("not resumed")
	}
	rig.audited("pause", "ws_001", "paused, 0 closed", "")
	rig.audited("resume", "ws_001", "resumed", "")
}

func TestAPauseWhoseLeasesAreOutSaysThatItIsNotDone(t *testing.T) {
	rig := newHandlersRig(t)
	var allowed time.Duration
	rig.pool.pause = func(ctx context.Context, _ model.WorkspaceID) (int, error) {
		deadline, _ := ctx.Deadline()
		allowed = time.Until(deadline)
		if allowed > time.Second {
			return 3, nil
		}
		<-ctx.Done()
		return 0, fmt.Errorf("pause: not all of its connections are closed yet: %w", ctx.Err())
	}
	rig.want(Operator, "/api/admin.pauseWorkspace", `{"workspaceId":"ws_001","waitMs":20}`, http.StatusOK, `{"workspaceId":"ws_001","paused":true,"done":false}`)
	rig.audited("pause", "ws_001", "paused, not all closed yet", "")

	for body, most := range map[string]time.Duration{
		`{"workspaceId":"ws_002"}`:                5 * time.Second,
		`{"workspaceId":"ws_002","waitMs":60000}`: time.Minute,
		`{"workspaceId":"ws_002","waitMs":7000}`:  7 * time.Second,
	} {
		rig.want(Operator, "/api/admin.pauseWorkspace", body, http.StatusOK, `{"workspaceId":"ws_002","paused":true,"done":true,"closed":3}`)
		if allowed > most || allowed < most-3*time.Second {
			t.Errorf("%s waits for %v", body, allowed)
		}
	}
}

// A lease may outlast the time that a shutdown has.
func TestAShutdownDoesNotWaitForAPause(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.pause = func(ctx context.Context, _ model.WorkspaceID) (int, error) {
		rig.server.Close()
		<-ctx.Done()
		return 0, ctx.Err()
	}
	began := time.Now()
	rig.want(Operator, "/api/admin.pauseWorkspace", `{"workspaceId":"ws_001","waitMs":60000}`, http.StatusOK, `{"workspaceId":"ws_001","paused":true,"done":false}`)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A time-out of the pool's own is not that of the pause.
func TestAPauseThatThePoolRefusesIsAnError(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.pause = func(context.Context, model.WorkspaceID) (int, error) { return 0, context.DeadlineExceeded }
	rig.refused(Operator, "/api/admin.pauseWorkspace", `{"workspaceId":"ws_001"}`, http.StatusGatewayTimeout)
}

func TestALimitThatIsNotGivenStays(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":60}`, http.StatusOK, `{"maxConnections":60,"maxConnectionsPerDB":3}`)
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnectionsPerDB":7}`, http.StatusOK, `{"maxConnections":60,"maxConnectionsPerDB":7}`)
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":70,"maxConnectionsPerDB":8}`, http.StatusOK, `{"maxConnections":70,"maxConnectionsPerDB":8}`)
	if n := len(rig.log.audits(t)); n != 3 {
		t.Errorf("%d audit lines", n)
	}
	if !strings.Contains(rig.log.String(), "maxConnections 60, maxConnectionsPerDB 7") {
		t.Error(rig.log)
	}
}

func TestAnAnswerWarnsOfALimitThatTheServerDoesNotGrant(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.granted = 87
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":87}`, http.StatusOK, `{"maxConnections":87,"maxConnectionsPerDB":3}`)
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":88}`, http.StatusOK, `{"maxConnections":88,"maxConnectionsPerDB":3,`+
		`"warning":"the database server grants 87 connections, fewer than maxConnections: lower it, or raise max_connections or the role's connection limit"}`)
	rig.pool.granted = 0
	rig.want(Operator, "/api/admin.setLimits", `{"maxConnections":70}`, http.StatusOK, `{"maxConnections":70,"maxConnectionsPerDB":3,`+
		`"warning":"the database server did not say how many connections it grants"}`)
}

func TestTwoWhoEachChangeOneLimitDoNotUndoTheOther(t *testing.T) {
	rig := newHandlersRig(t)
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	rig.pool.limit = func(context.Context, int, int) error {
		begun <- struct{}{}
		<-goOn
		return nil
	}
	answers := make(chan int, 2)
	for _, body := range []string{`{"maxConnections":60}`, `{"maxConnectionsPerDB":7}`} {
		go func() {
			status, _ := rig.do(Operator, "/api/admin.setLimits", body)
			answers <- status
		}()
	}
	<-begun
	select {
	case <-begun:
		t.Error("both at once")
	case <-time.After(50 * time.Millisecond): // a chance for the other to be wrong
	}
	close(goOn)
	if first, second := <-answers, <-answers; first != http.StatusOK || second != http.StatusOK {
		t.Error(first, second)
	}
	if st, _ := rig.pool.Stats(t.Context()); st.MaxConnections != 60 || st.MaxConnectionsPerDB != 7 {
		t.Errorf("%d and %d", st.MaxConnections, st.MaxConnectionsPerDB)
	}
}

func TestLimitsOutOfRangeNameTheFields(t *testing.T) {
	rig := newHandlersRig(t)
	rig.refused(Operator, "/api/admin.setLimits", `{"maxConnections":2,"maxConnectionsPerDB":51}`, http.StatusBadRequest,
		"maxConnections is 2: it must be from 3 to 10000", "maxConnectionsPerDB is 51: it must be from 1 to 50")
	rig.refused(Operator, "/api/admin.setLimits", `{"maxConnections":0}`, http.StatusBadRequest, "maxConnections is 0: it must be from 3 to 10000")
	rig.refused(Operator, "/api/admin.setLimits", `{}`, http.StatusBadRequest, "maxConnections or maxConnectionsPerDB is required")
	if st, _ := rig.pool.Stats(t.Context()); st.MaxConnections != 100 || st.MaxConnectionsPerDB != 3 {
		t.Errorf("%+v", st)
	}
}

func TestWrappedAndSingleConfigErrorsNameTheFieldToo(t *testing.T) {
	one := &model.ConfigError{Variable: "DB_MAX_CONNECTIONS", Value: 1, Want: "more"}
	for _, err := range []error{one, fmt.Errorf("set limits: %w", one), fmt.Errorf("set limits: %w", errors.Join(one))} {
		if got := namingFields(err).Error(); got != "maxConnections is 1: it must be more" {
			t.Error(got)
		}
	}
	if namingFields(nil) != nil || !errors.Is(namingFields(model.ErrClosed), model.ErrClosed) {
		t.Error("others are changed")
	}
}

func TestDrainAnswersAtOnceAndIsLoggedAtItsEnd(t *testing.T) {
	rig := newHandlersRig(t)
	end := make(chan struct{})
	rig.pool.close = func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("not bounded")
		}
		<-end
		return ctx.Err()
	}
	rig.want(Operator, "/api/admin.drain", `{"confirm":"drain"}`, http.StatusOK, `{"draining":true}`)
	rig.audited("drain", "", "begun", "")
	rig.want(Operator, "/api/admin.drain", `{"confirm":"drain"}`, http.StatusOK, `{"draining":true}`)
	soon(t, "the pool is closed", func() bool { return len(rig.pool.done()) > 0 })
	if strings.Contains(rig.log.String(), "Drained") {
		t.Error("logged too early")
	}
	close(end)
	soon(t, "the log says so", func() bool { return strings.Contains(rig.log.String(), `"message":"Drained"`) })
	if calls := rig.pool.done(); !slices.Equal(calls, []string{"close"}) {
		t.Errorf("%q", calls)
	}
}

func TestADrainThatDoesNotEndIsLogged(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.close = func(context.Context) error {
		return fmt.Errorf("drain: 3 connections are in use: %w", context.DeadlineExceeded)
	}
	rig.do(Operator, "/api/admin.drain", `{"confirm":"drain"}`)
	soon(t, "the log says so", func() bool { return strings.Contains(rig.log.String(), "3 connections are in use") })
}

func TestDrainWantsTheWord(t *testing.T) {
	rig := newHandlersRig(t)
	for _, body := range []string{`{}`, `{"confirm":""}`, `{"confirm":"yes"}`, `{"confirm":"Drain"}`} {
		rig.refused(Operator, "/api/admin.drain", body, http.StatusBadRequest, `confirm must be "drain"`)
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
}
