package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestAQueryReachesThePoolAndItsRowsTheClient(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.Query = QueryLimits{Timeout: 20 * time.Second, MaxRows: 12, MaxBytes: 3456} })
	var asked model.Query
	var allowed time.Duration
	rig.pool.query = func(ctx context.Context, q model.Query) (model.QueryResult, error) {
		asked = q
		deadline, _ := ctx.Deadline()
		allowed = time.Until(deadline)
		return model.QueryResult{
			Columns: []model.Column{{Name: "id", Type: "int8"}, {Name: "note", Type: "text"}, {Name: "doc", Type: "jsonb"}},
			Rows: [][]any{
				{json.Number("9007199254740993"), "<a&b>", json.RawMessage(`{"a": [1, 2.50]}`)},
				{json.Number("2"), nil, true},
			},
			Command: "SELECT 2", RowsAffected: 2, Truncated: true,
			Notices:     []model.Notice{{Severity: "WARNING", Code: "01000", Message: "it is h", Cut: true}, {Severity: "NOTICE", Code: "00000", Message: "by the way"}},
			NoticesLost: 3,
		}, nil
	}
	rig.want(Service, queryPath,
		`{"workspaceId":"ws_002","sql":"select $1","args":[9007199254740993,1.50,"x",null,true,[1],{"a": 2}],"readOnly":true}`, http.StatusOK,
		`{"columns":[{"name":"id","type":"int8"},{"name":"note","type":"text"},{"name":"doc","type":"jsonb"}],`+
			`"rows":[["9007199254740993","<a&b>",{"a":[1,2.50]}],["2",null,true]],"command":"SELECT 2","rowsAffected":2,"truncated":true,`+
			`"notices":[{"severity":"WARNING","code":"01000","message":"it is h","cut":true},{"severity":"NOTICE","code":"00000","message":"by the way"}],"noticesLost":3}`)
	want := model.Query{ // arrays and objects are the text that they are
		Workspace: "ws_002", SQL: "select $1", ReadOnly: true, MaxRows: 12, MaxBytes: 3456,
		Args: []any{
			json.Number("9007199254740993"), json.Number("1.50"), "x", nil, true,
			json.RawMessage(`[1]`), json.RawMessage(`{"a": 2}`),
		},
	}
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("%#v", asked)
	}
	if allowed > 20*time.Second || allowed < 10*time.Second {
		t.Errorf("it may take %v", allowed)
	}
	rig.do(Service, queryPath, `{"workspaceId":"ws_002","sql":"select 1","timeoutMs":5000}`)
	if allowed > 5*time.Second || allowed < 2*time.Second {
		t.Errorf("it may take %v", allowed)
	}
}

func TestAQueryWithoutRowsHasEmptyLists(t *testing.T) {
	rig := newHandlersRig(t)
	rig.want(Service, queryPath, `{"workspaceId":"ws_001","sql":"create table t ()"}`, http.StatusOK,
		`{"columns":[],"rows":[],"command":"SELECT 0","rowsAffected":0,"truncated":false}`)
}

// Nothing is said of a workspace that the token does not name: the same words for
// one that exists, one that does not, and one that cannot be; and before the rest
// of the request is looked at.
func TestAQueryElsewhereIsForbiddenBeforeAnythingElse(t *testing.T) {
	rig := newHandlersRig(t)
	for _, body := range []string{
		`{"workspaceId":"ws_003","sql":"select 1"}`,
		`{"workspaceId":"nobody","sql":"select 1"}`,
		`{"workspaceId":"a/b","sql":"select 1"}`,
		`{"workspaceId":"ws_003","sql":""}`,
		`{"workspaceId":"ws_003","sql":"select 1","timeoutMs":-1}`,
	} {
		status, answer := rig.do(Service, queryPath, body)
		if status != http.StatusForbidden || !strings.HasPrefix(answer, `{"error":"your token does not name this workspace","requestId":"`) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	for _, role := range []Role{Viewer, Operator} {
		if status, _ := rig.do(role, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`); status != http.StatusForbidden {
			t.Errorf("%s: %d", role, status)
		}
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
}

func TestAQueryThatIsIncompleteIsRefusedWithTheNameOfTheField(t *testing.T) {
	rig := newHandlersRig(t)
	for body, word := range map[string]string{
		`{"sql":"select 1"}`:                                                                      "workspaceId is required",
		`{"workspaceId":"ws_001"}`:                                                                "sql is required",
		`{"workspaceId":"ws_001","sql":" \n\t"}`:                                                  "sql is required",
		`{"workspaceId":"ws_001","sql":"select 1","timeoutMs":0}`:                                 "timeoutMs is 0: it must be from 1 to 30000",
		`{"workspaceId":"ws_001","sql":"select 1","timeoutMs":30001}`:                             "timeoutMs is 30001",
		`{"workspaceId":"ws_001","sql":"select 1","timeoutMs":9223372036854775807}`:               "timeoutMs is 9223372036854775807",
		`{"workspaceId":"ws_001","sql":"select 1","args":{}}`:                                     "args",
		`{"workspaceId":"ws_001","sql":"select 1","args":[` + strings.Repeat("1,", 65535) + "1]}": "args has too many values: it may have 65535",
	} {
		rig.refused(Service, queryPath, body, http.StatusBadRequest, word)
	}
	if calls := rig.pool.done(); len(calls) != 0 {
		t.Errorf("%q", calls)
	}
}

func TestWhatPostgreSQLRefusesIsA422WithAllItSaid(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{}, fmt.Errorf("query workspace %q: %w", "ws_001",
			&model.SQLError{Code: "42703", Message: `column "nam" does not exist`, Detail: "Some detail.", Hint: `Perhaps you meant "name".`, Position: 8})
	}
	status, answer := rig.do(Service, queryPath, `{"workspaceId":"ws_001","sql":"select nam from t"}`)
	var got map[string]any
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusUnprocessableEntity {
		t.Fatal(status, answer)
	}
	if got["requestId"] == "" || got["requestId"] == nil {
		t.Error("no request id")
	}
	delete(got, "requestId")
	if want := (map[string]any{
		"error": `column "nam" does not exist`, "code": "42703", "detail": "Some detail.", "hint": `Perhaps you meant "name".`, "position": 8.0,
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestAQueryThatRunsTooLongIsA504HoweverThePoolSaysIt(t *testing.T) {
	for name, failed := range map[string]func(context.Context) error{
		"by the context":  func(ctx context.Context) error { return fmt.Errorf("query: %w", ctx.Err()) },
		"by the SQLSTATE": func(context.Context) error { return &model.SQLError{Code: "57014", Message: "canceling statement"} },
	} {
		t.Run(name, func(t *testing.T) {
			rig := newHandlersRig(t)
			rig.pool.query = func(ctx context.Context, _ model.Query) (model.QueryResult, error) {
				<-ctx.Done()
				return model.QueryResult{}, failed(ctx)
			}
			rig.refused(Service, queryPath, `{"workspaceId":"ws_001","sql":"select pg_sleep(9)","timeoutMs":10}`, http.StatusGatewayTimeout)
		})
	}
}

// Somebody else's cancel, or the role's own statement_timeout, is the server's
// word.
func TestACancelThatIsNotOursIsTheServersError(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{}, &model.SQLError{Code: "57014", Message: "canceling statement due to statement timeout"}
	}
	rig.refused(Service, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`, http.StatusUnprocessableEntity, "statement timeout")
}

func TestAFullBudgetIsA503WithRetryAfter(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{}, &model.ConnectionLimitError{WorkspaceID: "ws_001", LongestLease: time.Second, LongestLeaseWorkspace: "somebody-else"}
	}
	response, err := http.DefaultClient.Do(rig.request(Service, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" {
		t.Error(response.StatusCode, response.Header)
	}
	if _, answer := rig.do(Service, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`); strings.Contains(answer, "somebody-else") {
		t.Error("a service learns of another workspace: ", answer)
	}
}

func TestALostConnectionIsA503AndAWarning(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{}, fmt.Errorf("query workspace %q: %w: %w", "ws_001", model.ErrConnectionLost,
			&model.SQLError{Code: "57P01", Message: "terminating connection due to administrator command"})
	}
	rig.refused(Service, queryPath, `{"workspaceId":"ws_001","sql":"insert ..."}`, http.StatusServiceUnavailable, "may have run")
	lost := rig.log.with(t, "Request lost its database connection")
	if len(lost) != 1 || lost[0]["level"] != "WARN" || lost[0]["request_id"] == nil || lost[0]["path"] != queryPath {
		t.Errorf("logged %v", lost)
	}
	if strings.Contains(rig.log.String(), `"level":"ERROR"`) {
		t.Errorf("an error is logged: %s", rig.log)
	}
}

// The log says who ended a statement: its client, or the time that it may take.
func TestTheLogTellsAClientThatLeftFromATimeThatIsOver(t *testing.T) {
	for name, failed := range map[string]error{
		"in the statement":           &model.SQLError{Code: "57014", Message: "canceling statement due to user request"},
		"waiting for a connection":   &model.ConnectionLimitError{WorkspaceID: "ws_001", Cause: context.Canceled},
		"while one was being opened": fmt.Errorf("acquire: %w (%w)", model.ErrDialing, context.Canceled),
	} {
		t.Run(name, func(t *testing.T) {
			rig := newHandlersRig(t)
			ctx, leave := context.WithCancel(t.Context())
			rig.pool.query = func(ctx context.Context, _ model.Query) (model.QueryResult, error) {
				leave()
				<-ctx.Done()
				return model.QueryResult{}, failed
			}
			response, err := http.DefaultClient.Do(rig.request(Service, queryPath, `{"workspaceId":"ws_001","sql":"select pg_sleep(60)"}`).WithContext(ctx))
			if err == nil {
				response.Body.Close()
				t.Fatal(response.StatusCode)
			}
			soon(t, "it is logged", func() bool { return len(rig.log.with(t, "Request")) > 0 })
			line := rig.log.with(t, "Request")[0]
			if said, _ := line["error"].(string); line["status"] != 499.0 || strings.Contains(said, "after 30s") {
				t.Errorf("%v", line)
			}
		})
	}
}

// What fails to be written then is no failure of ours.
func TestAClientThatLeavesInTheMiddleOfItsAnswerIsNoError(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.query = func(context.Context, model.Query) (model.QueryResult, error) {
		return model.QueryResult{Rows: [][]any{{strings.Repeat("a", 32<<20)}}, Columns: []model.Column{{Name: "a", Type: "text"}}}, nil
	}
	response, err := http.DefaultClient.Do(rig.request(Service, queryPath, `{"workspaceId":"ws_001","sql":"select 1"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	soon(t, "it is logged", func() bool { return len(rig.log.with(t, "Request")) > 0 })
	if line := rig.log.with(t, "Request")[0]; line["status"] != 499.0 || response.StatusCode != http.StatusOK {
		t.Errorf("%d %v", response.StatusCode, line)
	}
	if strings.Contains(rig.log.String(), `"level":"ERROR"`) {
		t.Errorf("an error is logged: %s", rig.log)
	}
}

func TestAClientThatGoesAwayTakesItsStatementAlong(t *testing.T) {
	rig := newHandlersRig(t)
	running, ended := make(chan struct{}), make(chan error, 1)
	rig.pool.query = func(ctx context.Context, _ model.Query) (model.QueryResult, error) {
		close(running)
		<-ctx.Done()
		ended <- ctx.Err()
		return model.QueryResult{}, ctx.Err()
	}
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-running
		leave()
	}()
	request := rig.request(Service, queryPath, `{"workspaceId":"ws_001","sql":"select pg_sleep(60)"}`).WithContext(ctx)
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
		t.Error(response.StatusCode)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the statement runs on")
	}
}
