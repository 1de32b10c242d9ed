package web

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// contract is the description of the API, as a validator reads it.
type contract struct {
	document *openapi3.T
	router   routers.Router
}

func readContract(t *testing.T, description []byte) contract {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
	document.Servers = nil // relative: the router wants to know nothing of hosts
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		t.Fatal(err)
	}
	return contract{document, router}
}

// operation is what is said of the route.
func (c contract) operation(r route) *openapi3.Operation {
	return c.document.Paths.Value(strings.Replace(r.path, "*", "{file}", 1)).GetOperation(r.method)
}

// given is the answer that came for a request.
type given struct {
	request *http.Request
	sent    string // the request's body
	status  int
	header  http.Header
	body    []byte
}

// check tells what the description does not say of the answer, or of a request that
// went well.
func (c contract) check(a given) error {
	route, params, err := c.router.FindRoute(a.request)
	if err != nil && a.status == http.StatusNotFound {
		return nil // nor is it a route
	}
	if err != nil {
		return err
	}
	a.request.Body = io.NopCloser(strings.NewReader(a.sent))
	in := &openapi3filter.RequestValidationInput{
		Request: a.request, Route: route, PathParams: params,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if a.status < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return err
		}
	}
	response := route.Operation.Responses.Status(a.status)
	if response == nil {
		return fmt.Errorf("the status %d is not described", a.status)
	}
	kind := a.header.Get("Content-Type")
	if len(response.Value.Content) > 0 && response.Value.Content.Get(kind) == nil {
		return fmt.Errorf("the content type %q of status %d is not described", kind, a.status)
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: !strings.HasPrefix(kind, "application/json")},
	})
}

// brokenPool fails with an error, or panics without one.
type brokenPool struct {
	*fakePool
	err func(context.Context) error
}

func (p brokenPool) Stats(ctx context.Context) (model.Stats, error) { return model.Stats{}, p.err(ctx) }
func (p brokenPool) SharedBudget(ctx context.Context) (model.SharedBudget, error) {
	return model.SharedBudget{}, p.err(ctx)
}
func (p brokenPool) Capacity(ctx context.Context) (model.Capacity, error) {
	return model.Capacity{}, p.err(ctx)
}
func (p brokenPool) Ping(ctx context.Context) error { return p.err(ctx) }
func (p brokenPool) Events(ctx context.Context, _ int) (<-chan model.Event, error) {
	return nil, p.err(ctx)
}
func (p brokenPool) Evict(ctx context.Context, _ model.WorkspaceID) (int, error) {
	return 0, p.err(ctx)
}
func (p brokenPool) Renew(ctx context.Context, _ model.WorkspaceID) (int, error) {
	return 0, p.err(ctx)
}
func (p brokenPool) RenewAll(ctx context.Context) (int, error) { return 0, p.err(ctx) }
func (p brokenPool) Pause(ctx context.Context, _ model.WorkspaceID) (int, error) {
	return 0, p.err(ctx)
}
func (p brokenPool) Resume(ctx context.Context, _ model.WorkspaceID) error { return p.err(ctx) }
func (p brokenPool) SetLimits(ctx context.Context, _, _ int) (int, error)  { return 0, p.err(ctx) }
func (p brokenPool) Dump(ctx context.Context, _ io.Writer) error           { return p.err(ctx) }
func (p brokenPool) Query(ctx context.Context, _ model.Query) (model.QueryResult, error) {
	return model.QueryResult{}, p.err(ctx)
}
func (p brokenPool) CreateWorkspace(ctx context.Context, _ model.WorkspaceID, _ ...model.CreateOption) error {
	return p.err(ctx)
}
func (p brokenPool) DropWorkspace(ctx context.Context, _ model.WorkspaceID, _ ...model.DropOption) error {
	return p.err(ctx)
}
func (p brokenPool) RenameWorkspace(ctx context.Context, _, _ model.WorkspaceID) error {
	return p.err(ctx)
}
func (p brokenPool) SetWorkspaceSettings(ctx context.Context, _ model.WorkspaceID, _ model.WorkspaceSettings) error {
	return p.err(ctx)
}
func (p brokenPool) WorkspaceSettings(ctx context.Context, _ model.WorkspaceID) (model.WorkspaceSettings, error) {
	return model.WorkspaceSettings{}, p.err(ctx)
}
func (p brokenPool) Usage(ctx context.Context) (model.Usage, error) {
	return model.Usage{}, p.err(ctx)
}

func (p brokenPool) ListWorkspaces(ctx context.Context, _ model.ListOptions) ([]model.WorkspaceID, error) {
	return nil, p.err(ctx)
}

// provocation makes a route answer with a status.
type provocation struct {
	role    Role   // "": one that may; public: no token
	body    string // "": the route's example
	kind    string // of the body; "": JSON
	file    string // the asset
	query   string // with its question mark
	headers string // more of them
	stall   bool   // the body's end never comes
	panics  bool   // the handler
	// fails is the error of all that the pool is asked.
	fails func(context.Context) error
	// before changes the server, unless it is a HEAD; pool changes the pool.
	before func(*Server)
	// server is before for a HEAD, too.
	server func(*Server)
	pool   func(*fakePool)
}

func failing(err error) provocation {
	return provocation{fails: func(context.Context) error { return err }}
}

// examples are bodies that are good.
var examples = map[string]string{
	"/api/admin.evictWorkspace":  `{"workspaceId":"ws_001"}`,
	"/api/admin.renewWorkspace":  `{"workspaceId":"ws_001"}`,
	"/api/admin.renewAll":        `{}`,
	"/api/admin.pauseWorkspace":  `{"workspaceId":"ws_001","waitMs":100}`,
	"/api/admin.resumeWorkspace": `{"workspaceId":"ws_001"}`,
	"/api/admin.setLimits":       `{"maxConnections":50}`,
	"/api/admin.drain":           `{"confirm":"drain"}`,
	dumpPath:                     `{}`,
	queryPath:                    `{"workspaceId":"a","sql":"SELECT $1","args":[1],"timeoutMs":1000}`,
	"/api/workspace.create":      `{"workspaceId":"new"}`,
	"/api/workspace.delete":      `{"workspaceId":"ws_001","confirm":"ws_001"}`,
	"/api/workspace.rename":      `{"workspaceId":"ws_002","to":"renamed"}`,
	"/api/workspace.settings":    `{"workspaceId":"ws_001","maxConnections":2,"role":"tenant"}`,
}

// provocations lead to their status on every route that is described to have it,
// except for those in ownProvocations.
var provocations = map[int]provocation{
	200: {},
	201: {},
	304: {headers: "If-None-Match: *\r\n"},
	400: {body: `{"surplus":1}`},
	401: {role: public},
	403: {}, // with a role that may not
	404: failing(model.ErrNoWorkspace),
	408: {stall: true},
	409: failing(model.ErrWorkspaceExists),
	413: {body: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`},
	415: {kind: "text/plain"},
	429: {before: func(s *Server) { s.queries, s.streams = newTurns(0, 0), newTurns(0, 0) }},
	422: failing(fmt.Errorf("query: %w", &model.SQLError{Code: "42P01", Message: "there is no such table", Hint: "look", Position: 3})),
	500: {panics: true},
	502: failing(&model.DialError{Kind: model.Permanent, Err: errors.New("no")}),
	503: failing(&model.DialError{Kind: model.ServerDown, Err: errors.New("no")}),
	504: {fails: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
}

// ownProvocations are those of single routes.
var ownProvocations = map[string]provocation{
	"/assets/* 404":                 {file: "nothing.js"},
	statsPath + " 200":              {query: "?search=0&sort=-inUse&limit=2&offset=1"},
	statsPath + " 400":              {query: "?limit=1001"},
	"/api/workspace.list 200":       {query: "?after=ws_001&prefix=ws_&limit=1"},
	"/api/workspace.list 400":       {query: "?limit=0"},
	"/api/admin.usage 200":          {query: "?limit=1"},
	"/api/admin.usage 400":          {query: "?limit=0"},
	"/api/admin.replicas 200":       {pool: func(p *fakePool) { p.share(exampleGroup()) }},
	"/api/admin.replicas 409":       failing(errors.ErrUnsupported),
	"/api/admin.door 200":           {server: func(s *Server) { s.options.Door = exampleDoor }},
	"/api/admin.door 409":           {},
	"/api/admin.capacity 200":       {pool: func(p *fakePool) { p.plan(exampleCapacity()) }},
	"/api/admin.capacity 409":       failing(errors.ErrUnsupported),
	eventsPath + " 200":             {before: (*Server).Close},         // it ends at once
	"/api/admin.pauseWorkspace 504": failing(context.DeadlineExceeded), // its own, and not that the leases are not home
	dumpPath + " 409":               {before: func(s *Server) { s.dumping <- struct{}{} }},
}

// role is one that may call the route, or one that may not.
func (r route) role(may bool) Role {
	for _, role := range roles {
		if slices.Contains(r.roles, role) == may {
			return role
		}
	}
	return public
}

// provoke asks a server that is made for it, in a time of its own: what takes half a
// minute is over at once.
func provoke(t *testing.T, r route, status int) (a given) {
	p, own := ownProvocations[fmt.Sprint(r.path, " ", status)]
	if !own {
		p = provocations[status]
	}
	a.request = httptest.NewRequest(r.method, strings.Replace(r.path, "*", cmp.Or(p.file, "main.js"), 1)+p.query, nil)
	inOwnTime(t, nil, func(t *testing.T, s *shellTest, dial func() net.Conn) {
		if p.fails != nil {
			s.pool = brokenPool{s.pool.(*fakePool), p.fails}
		}
		if p.pool != nil {
			p.pool(s.pool.(*fakePool))
		}
		if p.server != nil {
			p.server(s.Server)
		}
		if p.before != nil && r.method != http.MethodHead {
			p.before(s.Server)
		}
		conn := dial()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s", r.method, a.request.URL.RequestURI(), p.headers)
		if role := cmp.Or(p.role, r.role(status != http.StatusForbidden)); role != public {
			fmt.Fprintf(conn, "Authorization: Bearer %s\r\n", s.token(t, role))
		}
		if r.method == http.MethodPost {
			a.sent = cmp.Or(p.body, examples[r.path])
			a.request.Header.Set("Content-Type", "application/json")
			fmt.Fprintf(conn, "Content-Type: %s\r\nContent-Length: %d\r\n", cmp.Or(p.kind, "application/json"), len(a.sent))
		}
		if r.method == http.MethodHead {
			fmt.Fprint(conn, "Connection: close\r\n")
		}
		fmt.Fprint(conn, "\r\n")
		if !p.stall {
			go fmt.Fprint(conn, a.sent)
		}
		in := bufio.NewReader(conn)
		response, err := http.ReadResponse(in, a.request)
		if err != nil {
			t.Fatal(err)
		}
		a.status, a.header = response.StatusCode, response.Header
		if a.body, err = io.ReadAll(response.Body); err != nil {
			t.Error(err)
		}
		if r.method == http.MethodHead { // all that comes until the end
			began := time.Now()
			if a.body, _ = io.ReadAll(in); time.Since(began) > 0 {
				t.Errorf("the answer to HEAD %s ends after %v", r.path, time.Since(began))
			}
		}
		_ = conn.Close()
	}, func(routes []route) []route {
		if !p.panics {
			return routes
		}
		routes = slices.Clone(routes)
		for i := range routes {
			routes[i].serve = func(*Server, echo.Context) error { panic("for the test") }
		}
		return routes
	})
	return a
}

// Every answer that is described is produced by a real server, and is as described.
// What is new in the description and does not come by one of the provocations above
// needs one of its own.
func TestEveryDescribedAnswerIsGivenAsDescribed(t *testing.T) {
	api := readContract(t, startShell(t).description)
	for _, r := range withHead(routes) {
		for code := range api.operation(r).Responses.Map() {
			status, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprint(r.method, " ", r.path, " ", status)
			t.Run(name, func(t *testing.T) {
				a := provoke(t, r, status)
				if a.status != status {
					t.Fatalf("the answer is %d %s", a.status, a.body)
				}
				if err := api.check(a); err != nil {
					t.Errorf("%v\n%v\n%s", err, a.header, a.body)
				}
				if r.method == http.MethodHead && len(a.body) > 0 {
					t.Errorf("a HEAD has the body %q", a.body)
				}
			})
		}
	}
}

// The other way round: statuses are not left out. Each provocation that has nothing
// to do with what a handler does is tried on all routes.
func TestNoAnswerIsLeftOutOfTheDescription(t *testing.T) {
	api := readContract(t, startShell(t).description)
	for _, r := range withHead(routes) {
		for status, p := range provocations {
			if p.fails != nil && status < 503 || p.panics && slices.Contains(r.roles, public) {
				continue // not every handler can meet it; a panic of those is not expected
			}
			if status < 300 {
				continue
			}
			t.Run(fmt.Sprint(r.method, " ", r.path, " ", status), func(t *testing.T) {
				a := provoke(t, r, status)
				if err := api.check(a); err != nil {
					t.Errorf("%d: %v\n%s", a.status, err, a.body)
				}
			})
		}
	}
}

// described fails the test when the rig's answer is not in the description.
func (rig *handlersRig) described(a given) {
	rig.t.Helper()
	if err := rig.api().check(a); err != nil {
		rig.t.Errorf("%s %s: %d: %v\n%s", a.request.Method, a.request.URL.Path, a.status, err, a.body)
	}
}

func TestAHeadHasTheHeadersOfItsGet(t *testing.T) {
	for _, r := range routes {
		if r.method != http.MethodGet {
			continue
		}
		get := provoke(t, r, http.StatusOK)
		r.method = http.MethodHead
		head := provoke(t, r, http.StatusOK)
		for _, changes := range []string{"Date", "X-Request-Id", "Content-Length", "Transfer-Encoding", "Connection"} {
			get.header.Del(changes)
			head.header.Del(changes)
		}
		if get.status != 200 || head.status != 200 || !reflect.DeepEqual(get.header, head.header) || len(head.body) > 0 || len(get.body) == 0 {
			t.Errorf("%s: %d %v, %q\nGET: %d %v", r.path, head.status, head.header, head.body, get.status, get.header)
		}
	}
}
