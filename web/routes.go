package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// route is one call. The zero value of a field is never meant: a route without
// roles does not register.
type route struct {
	method, path string
	// roles are who may call it.
	roles []Role
	// does says in a sentence what the call does.
	does string
	// takes and gives are examples of the bodies' types, for the description of
	// the API; nil: none.
	takes, gives any
	// fails are the statuses of what may go wrong in the handler itself, for the
	// description: what tokens and bodies and panics lead to is added to them.
	fails []int
	serve func(*Server, echo.Context) error
}

// controlBody is how large a body may be that steers the pool: an id and a few words.
const controlBody = 16 << 10

// maxBody is how large a body the route takes.
func (r route) maxBody(limits QueryLimits) int64 {
	if r.path == queryPath {
		return limits.MaxBody
	}
	return min(controlBody, limits.MaxBody)
}

// What may go wrong: with any question to the pool, and with one that waits for it.
var (
	asking  = []int{http.StatusServiceUnavailable}
	waiting = []int{http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	// of one workspace, which need not exist, and with a statement of the server's
	steering = append([]int{http.StatusNotFound}, waiting...)
	changing = append([]int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadGateway}, waiting...)
	creating = append([]int{http.StatusConflict, http.StatusUnprocessableEntity, http.StatusBadGateway}, waiting...)
)

var (
	anybody   = []Role{public}
	viewers   = []Role{Viewer, Operator}
	operators = []Role{Operator}
	services  = []Role{Service}
)

// routes is the whole API.
var routes = []route{
	{http.MethodGet, "/", anybody, "The dashboard.", nil, nil, []int{http.StatusNotModified}, (*Server).dashboard},
	{http.MethodGet, "/assets/*", anybody, "The dashboard's parts.", nil, nil, []int{http.StatusNotModified, http.StatusNotFound}, (*Server).asset},
	{http.MethodGet, "/healthz", anybody, "Whether the process lives.", nil, healthAnswer{}, nil, (*Server).healthz},
	{http.MethodGet, "/readyz", anybody, "Whether requests can be served.", nil, healthAnswer{}, asking, (*Server).readyz},
	{http.MethodGet, "/metrics", viewers, "Metrics for Prometheus.", nil, nil, nil, (*Server).metrics},
	{http.MethodGet, "/api/openapi.json", anybody, "This description.", nil, nil, nil, (*Server).openAPI},

	{http.MethodGet, statsPath, viewers, "The state of all connections at one moment, and of a page of the active workspaces.", nil, connectionStats{}, []int{http.StatusBadRequest}, (*Server).connectionStats},
	{http.MethodGet, eventsPath, viewers, "What happens from now on, as server-sent events.", nil, eventAnswer{}, append([]int{http.StatusTooManyRequests}, waiting...), (*Server).events},
	{http.MethodPost, "/api/admin.evictWorkspace", operators, "Closes a workspace's idle connections.", workspaceRequest{}, closedAnswer{}, steering, (*Server).evictWorkspace},
	{http.MethodPost, "/api/admin.renewWorkspace", operators, "Replaces a workspace's connections: idle ones close now, lent ones when they come home.", workspaceRequest{}, closedAnswer{}, steering, (*Server).renewWorkspace},
	{http.MethodPost, "/api/admin.renewAll", operators, "Replaces the connections of all workspaces and of the system database.", emptyRequest{}, closedAnswer{}, waiting, (*Server).renewAll},
	{http.MethodPost, "/api/admin.pauseWorkspace", operators, "Keeps a workspace's connections closed, until it is resumed.", pauseRequest{}, pauseAnswer{}, append([]int{http.StatusConflict}, steering...), (*Server).pauseWorkspace},
	{http.MethodPost, "/api/admin.resumeWorkspace", operators, "Ends a pause.", workspaceRequest{}, resumeAnswer{}, steering, (*Server).resumeWorkspace},
	{http.MethodPost, "/api/admin.setLimits", operators, "Changes the connection limits.", limitsRequest{}, limitsAnswer{}, waiting, (*Server).setLimits},
	{http.MethodPost, "/api/admin.drain", operators, "Stops lending, for good, and closes all connections as they come home.", drainRequest{}, drainAnswer{}, nil, (*Server).drain},
	{http.MethodPost, dumpPath, operators, "What is needed to find out why somebody waited: statistics, the last messages, the runtime's trace; as a zip archive.", emptyRequest{}, nil, append([]int{http.StatusConflict}, waiting...), (*Server).dump},

	{http.MethodPost, queryPath, services, "Runs one statement in a workspace that the token names.", queryRequest{}, queryAnswer{}, append([]int{http.StatusTooManyRequests}, changing...), (*Server).query},
	{http.MethodPost, "/api/workspace.create", operators, "Creates a workspace's database.", workspaceRequest{}, workspaceAnswer{}, creating, (*Server).createWorkspace},
	{http.MethodGet, "/api/workspace.list", operators, "The workspaces that have a database.", nil, workspaceList{}, append([]int{http.StatusUnprocessableEntity, http.StatusBadGateway}, waiting...), (*Server).listWorkspaces},
	{http.MethodPost, "/api/workspace.delete", operators, "Pauses a workspace, closes its connections and drops its database.", deleteRequest{}, workspaceAnswer{}, changing, (*Server).deleteWorkspace},
}

// withHead adds to each GET a HEAD: the same headers, without a body, which net/http
// leaves out.
func withHead(routes []route) []route {
	var all []route
	for _, r := range routes {
		all = append(all, r)
		if r.method == http.MethodGet {
			r.method = http.MethodHead
			if r.path == eventsPath { // asks the pool nothing
				r.fails = nil
			}
			all = append(all, r)
		}
	}
	return all
}

// Role is what a token may do. Each route names the roles that may call it.
type Role string

const (
	// Viewer sees everything and changes nothing.
	Viewer Role = "viewer"
	// Operator sees everything, and steers the pool.
	Operator Role = "operator"
	// Service runs statements in the workspaces that its token names.
	Service Role = "service"
)

// public marks a route that needs no token.
const public Role = "public"

// roles are those a token can have.
var roles = []Role{Viewer, Operator, Service}
