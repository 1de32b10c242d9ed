package model_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestALimitErrorSaysWhoAskedWhatIsFullAndWhatToDo(t *testing.T) {
	full := model.ConnectionLimitError{
		MaxConnections: 90, EffectiveBudget: 90, CurrentConnections: 88, WorkspaceID: "w42", MaxPerWorkspace: 3, CurrentWorkspace: 2,
		Waiting: 7, WaitingWorkspace: 4, LongestLease: 1500 * time.Millisecond, LongestLeaseWorkspace: "w7",
	}
	for limit, want := range map[model.Limit][]string{
		model.BudgetLimit:    {"88 of 90 connections are taken and none is idle", "raise DB_MAX_CONNECTIONS"},
		model.WorkspaceLimit: {"it holds 2 of the 3 connections one workspace may have", "raise DB_MAX_CONNECTIONS_PER_DB"},
		model.QueueLimit:     {"the queue of waiters is full", "raise DB_MAX_WAITERS"},
	} {
		err := full
		err.Limit = limit
		for _, word := range append(want, `acquire workspace "w42"`, "7 waiting (4 for this workspace)", `longest lease held for 1.5s by workspace "w7"`) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%v: %q is missing in: %v", limit, word, &err)
			}
		}
	}
	held := full
	held.EffectiveBudget = 60
	for _, word := range []string{"the server grants only 60 at present", "or lower DB_MAX_CONNECTIONS"} {
		if !strings.Contains(held.Error(), word) {
			t.Errorf("%q is missing in: %v", word, &held)
		}
	}
	for effective, want := range map[int]string{90: "or raise the group's budget (tenantpool fence --budget)", 60: "or lower the group's budget"} {
		shared := full
		shared.Shared, shared.EffectiveBudget = true, effective
		said := shared.Error()
		if !strings.Contains(said, "88 of 90 connections that this replica may have of the shared budget") || !strings.Contains(said, want) || strings.Contains(said, "DB_MAX_CONNECTIONS") {
			t.Errorf("a group heeds no variable: %s", said)
		}
	}
	closed := full
	closed.Lingering = 40
	for _, word := range []string{"the server has not let go of 40 of them, which were closed", "raise DB_MAX_CONNECTIONS"} {
		if !strings.Contains(closed.Error(), word) {
			t.Errorf("%q is missing in: %v", word, &closed)
		}
	}
	if closed.Lingering = 45; !strings.Contains(closed.Error(), "find out why the server, or the network before it, does not answer") {
		t.Errorf("what to do is missing in: %v", &closed)
	}
	for _, limit := range []model.Limit{model.BudgetLimit, model.WorkspaceLimit, model.QueueLimit} {
		silent := full
		silent.Limit, silent.ServerSilent = limit, true
		if said := silent.Error(); !strings.Contains(said, "find out why the server, or the network before it, does not answer") || strings.Contains(said, "raise") {
			t.Errorf("%v: a limit is blamed for a silent server: %s", limit, said)
		}
	}
	none := model.ConnectionLimitError{WorkspaceID: "w42"}
	if strings.Contains(none.Error(), "longest lease") {
		t.Errorf("there is no lease: %v", &none)
	}
}

func TestALimitErrorIsFoundThroughWrappingAndLeadsToItsCause(t *testing.T) {
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled, model.ErrAcquireTimeout} {
		err := fmt.Errorf("GET /orders: %w", &model.ConnectionLimitError{WorkspaceID: "w42", Cause: cause})
		var limit *model.ConnectionLimitError
		if !errors.As(err, &limit) || limit.WorkspaceID != "w42" || !errors.Is(err, cause) || !strings.HasSuffix(err.Error(), cause.Error()) {
			t.Errorf("%v", err)
		}
	}
	if err := error(&model.ConnectionLimitError{}); errors.Unwrap(err) != nil {
		t.Error("without a wait there is no cause")
	}
}

func TestADialErrorSaysHowOftenItWasTried(t *testing.T) {
	cause := errors.New("connection refused")
	for attempts, want := range map[int]string{
		1: `connect workspace "w42": connection refused`,
		3: `connect workspace "w42": 3 attempts failed, the last with: connection refused`,
	} {
		err := error(&model.DialError{WorkspaceID: "w42", Attempts: attempts, Err: cause})
		if err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	}
}
