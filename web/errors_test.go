package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// refusal is what a server's error looks like from here.
type refusal struct{ code string }

func (r refusal) Error() string    { return "FATAL at db.internal:5432 (SQLSTATE " + r.code + ")" }
func (r refusal) SQLState() string { return r.code }

// poolErrors are what a pool can answer, and what is to become of it. In each is
// something that strangers must not see.
var poolErrors = []struct {
	name       string
	err        error
	status     int
	retryAfter string
	says, code string
}{
	{"limit", &model.ConnectionLimitError{WorkspaceID: "a", LongestLease: time.Second, LongestLeaseWorkspace: "secret-customer", Cause: context.DeadlineExceeded},
		503, "1", "no database connection is free at the moment: try again", ""},
	{"wrapped limit", fmt.Errorf("secret-customer: %w", &model.ConnectionLimitError{Limit: model.QueueLimit}),
		503, "1", "no database connection is free at the moment: try again", ""},
	{"closed", fmt.Errorf("secret-customer: %w", model.ErrClosed), 503, "", "the server is shutting down", ""},
	{"paused", fmt.Errorf("secret-customer: %w: %w", model.ErrPaused, context.DeadlineExceeded),
		503, "5", "the workspace is paused or in exclusive use: try again later", ""},
	{"dialing", fmt.Errorf("secret-customer: %w: %w", model.ErrDialing, context.DeadlineExceeded),
		503, "1", "no database connection could be opened in time: try again", ""},
	{"no database", &model.DialError{WorkspaceID: "a", Kind: model.Permanent, Err: refusal{"3D000"}},
		404, "", "the workspace has no database", "3D000"},
	{"login", &model.DialError{WorkspaceID: "a", Kind: model.Permanent, Err: refusal{"28P01"}},
		502, "", "the workspace's database refuses the login", "28P01"},
	{"transient", &model.DialError{WorkspaceID: "a", Kind: model.Transient, Attempts: 3, Err: refusal{"57P03"}},
		503, "1", "the workspace's database cannot be reached at the moment: try again", "57P03"},
	{"server down", &model.DialError{WorkspaceID: "a", Kind: model.ServerDown, Err: errors.New("dial tcp db.internal:5432: connection refused")},
		503, "5", "the workspace's database cannot be reached at the moment: try again", ""},
	{"lost", fmt.Errorf("secret-customer: %w: %w", model.ErrConnectionLost, refusal{"57P01"}),
		503, "5", "the connection to the database was lost, and the statement may have run: check before you retry", ""},
	{"sql", fmt.Errorf("secret-customer: %w", &model.SQLError{Code: "42P01", Message: `relation "x" does not exist`, Hint: "look again", Position: 15}),
		422, "", `relation "x" does not exist; look again (at character 15)`, "42P01"},
	{"workspace id", fmt.Errorf("secret-customer: %w", model.WorkspaceID("a b").Validate()),
		400, "", `workspace id "a b": byte 1 (' ') is not one of A-Z a-z 0-9 _ -`, ""},
	{"exists", fmt.Errorf("secret-customer: %w", model.ErrWorkspaceExists), 409, "", "the workspace has a database already", ""},
	{"none", fmt.Errorf("secret-customer: %w", model.ErrNoWorkspace), 404, "", "the workspace has no database", ""},
	{"not known", fmt.Errorf("secret-customer: %w: %v", model.ErrNotKnown, refusal{"57P03"}),
		503, "5", model.ErrNotKnown.Error(), ""},
	{"many pauses", fmt.Errorf("secret-customer: %w", model.ErrManyPauses), 409, "", model.ErrManyPauses.Error(), ""},
	{"unsupported", fmt.Errorf("secret-customer: %w", errors.ErrUnsupported), 409, "", "the pool is not configured for this", ""},
	{"settings", fmt.Errorf("secret-customer: %w", model.WorkspaceSettings{MaxWaiters: -1}.Validate()), 503, "5", "the workspace's settings are not valid", ""},
	{"config", &model.ConfigError{Variable: "DB_MAX_CONNECTIONS", Value: "secret-customer", Want: "20 to 10000"}, 400, "", "a value is out of range", ""},
}

func TestWhatBecomesOfAPoolsErrors(t *testing.T) {
	for _, test := range poolErrors {
		s := startShell(t, open("GET", "/x", func(*Server, echo.Context) error { return test.err }))
		w := s.do("GET", "/x", "", "X-Request-Id", "r1")
		want := `"requestId":"r1"}`
		if test.code != "" {
			want = `"code":"` + test.code + `",` + want
		}
		want = fmt.Sprintf(`{"error":%s,%s`, quoted(test.says), want)
		if got := strings.TrimSpace(w.Body.String()); w.Code != test.status || got != want || w.Header().Get("Retry-After") != test.retryAfter {
			t.Errorf("%s: %d, Retry-After %q\n got %s\nwant %s", test.name, w.Code, w.Header().Get("Retry-After"), got, want)
		}
		if logged := s.log.with(t, "Request failed"); len(logged) > 0 {
			t.Errorf("%s is no surprise, but is logged as one: %v", test.name, logged)
		}
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestOperatorsSeeMoreThanServices(t *testing.T) {
	for _, test := range poolErrors[:1] {
		for role, sees := range map[Role]bool{Viewer: true, Operator: true, Service: false} {
			s := startShell(t, route{method: "GET", path: "/x", roles: roles, serve: func(*Server, echo.Context) error { return test.err }})
			w := s.do("GET", "/x", "", "Authorization", "Bearer "+s.token(t, role))
			if w.Code != test.status || strings.Contains(w.Body.String(), "secret-customer") != sees {
				t.Errorf("%s as %s: %d %s", test.name, role, w.Code, w.Body)
			}
		}
	}
}

func TestTheEndOfARequestsTimeIsA504(t *testing.T) {
	s := startShell(t, open("GET", "/x", func(*Server, echo.Context) error { return fmt.Errorf("secret: %w", context.DeadlineExceeded) }))
	if w := s.do("GET", "/x", "", "X-Request-Id", "r1"); w.Code != 504 || w.Body.String() != `{"error":"the request timed out; any change may have been applied: check before you retry","requestId":"r1"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAnErrorThatNobodyKnowsSaysNothing(t *testing.T) {
	s := startShell(t, route{method: "GET", path: "/x", roles: operators, serve: func(*Server, echo.Context) error {
		return errors.New("open /etc/tenantpool: no such file")
	}})
	w := s.do("GET", "/x", "", "X-Request-Id", "r1", "Authorization", "Bearer "+s.token(t, Operator))
	if w.Code != 500 || w.Body.String() != `{"error":"internal error","requestId":"r1"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if failed := s.log.with(t, "Request failed"); len(failed) != 1 || failed[0]["request_id"] != "r1" || failed[0]["error"] != "open /etc/tenantpool: no such file" {
		t.Errorf("logged %v", failed)
	}
}

func TestAnErrorAfterTheAnswerHasBegunChangesNothing(t *testing.T) {
	s := startShell(t, open("GET", "/x", func(_ *Server, c echo.Context) error {
		_ = c.String(http.StatusOK, "half")
		return errors.New("late")
	}))
	if w := s.do("GET", "/x", ""); w.Code != 200 || w.Body.String() != "half" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// ErrorHandler is for Echo instances that have nothing to do with a Server.
func TestTheErrorHandlerForRoutesOfYourOwn(t *testing.T) {
	for _, test := range poolErrors {
		e := echo.New()
		e.HTTPErrorHandler = ErrorHandler(func(err error, c echo.Context) { t.Errorf("%s was left to the next: %v", test.name, err) })
		e.GET("/", func(echo.Context) error { return test.err })
		w := send(e, "GET", "/", "")
		if w.Code != test.status || w.Header().Get("Retry-After") != test.retryAfter || !strings.HasPrefix(w.Body.String(), `{"error":`+quoted(test.says)) {
			t.Errorf("%s: %d, Retry-After %q: %s", test.name, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		for _, secret := range []string{"secret-customer", "db.internal"} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s gives %s away: %s", test.name, secret, w.Body)
			}
		}
	}
}

func TestTheErrorHandlerLeavesTheRestToTheNext(t *testing.T) {
	for _, given := range []error{
		echo.NewHTTPError(http.StatusTeapot, "short and stout"),
		echo.ErrNotFound,
		errors.New("something of theirs"),
		fmt.Errorf("theirs: %w", context.DeadlineExceeded),
		fmt.Errorf("theirs: %w", context.Canceled),
	} {
		e := echo.New()
		var left error
		e.HTTPErrorHandler = ErrorHandler(func(err error, c echo.Context) {
			left = err
			_ = c.NoContent(http.StatusTeapot)
		})
		e.GET("/", func(echo.Context) error { return given })
		if w := send(e, "GET", "/", ""); w.Code != http.StatusTeapot || left != given {
			t.Errorf("%v: %d, left %v", given, w.Code, left)
		}
	}
}
