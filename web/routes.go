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
	serve        func(*Server, echo.Context) error
}

var (
	anybody   = []Role{public}
	viewers   = []Role{Viewer, Operator}
	operators = []Role{Operator}
	services  = []Role{Service}
)

// routes is the whole API.
var routes = []route{
	{http.MethodGet, "/", anybody, "The dashboard.", nil, nil, (*Server).dashboard},
	{http.MethodGet, "/assets/*", anybody, "The dashboard's parts.", nil, nil, (*Server).asset},
	{http.MethodGet, "/healthz", anybody, "Whether the process lives.", nil, healthAnswer{}, (*Server).healthz},
	{http.MethodGet, "/readyz", anybody, "Whether requests can be served.", nil, healthAnswer{}, (*Server).readyz},
	{http.MethodGet, "/metrics", viewers, "Metrics for Prometheus.", nil, nil, (*Server).metrics},
	{http.MethodGet, "/api/openapi.json", anybody, "This description.", nil, nil, (*Server).openAPI},

	{http.MethodGet, statsPath, viewers, "The state of all connections at one moment.", nil, connectionStats{}, (*Server).connectionStats},
	{http.MethodGet, "/api/admin.events", viewers, "What happens from now on, as server-sent events.", nil, eventAnswer{}, (*Server).events},
	{http.MethodPost, "/api/admin.evictWorkspace", operators, "Closes a workspace's idle connections.", workspaceRequest{}, closedAnswer{}, (*Server).evictWorkspace},
	{http.MethodPost, "/api/admin.renewWorkspace", operators, "Replaces a workspace's connections: idle ones close now, lent ones when they come home.", workspaceRequest{}, closedAnswer{}, (*Server).renewWorkspace},
	{http.MethodPost, "/api/admin.renewAll", operators, "Replaces the connections of all workspaces and of the system database.", emptyRequest{}, closedAnswer{}, (*Server).renewAll},
	{http.MethodPost, "/api/admin.pauseWorkspace", operators, "Keeps a workspace's connections closed, until it is resumed.", pauseRequest{}, pauseAnswer{}, (*Server).pauseWorkspace},
	{http.MethodPost, "/api/admin.resumeWorkspace", operators, "Ends a pause.", workspaceRequest{}, resumeAnswer{}, (*Server).resumeWorkspace},
	{http.MethodPost, "/api/admin.setLimits", operators, "Changes the connection limits.", limitsRequest{}, limitsAnswer{}, (*Server).setLimits},
	{http.MethodPost, "/api/admin.drain", operators, "Stops lending, for good, and closes all connections as they come home.", drainRequest{}, drainAnswer{}, (*Server).drain},
	{http.MethodPost, dumpPath, operators, "What is needed to find out why somebody waited: statistics, the last messages, the runtime's trace; as a zip archive.", emptyRequest{}, nil, (*Server).dump},

	{http.MethodPost, "/api/workspace.query", services, "Runs one statement in a workspace that the token names.", queryRequest{}, queryAnswer{}, (*Server).query},
	{http.MethodPost, "/api/workspace.create", operators, "Creates a workspace's database.", workspaceRequest{}, workspaceAnswer{}, (*Server).createWorkspace},
	{http.MethodGet, "/api/workspace.list", operators, "The workspaces that have a database.", nil, workspaceList{}, (*Server).listWorkspaces},
	{http.MethodPost, "/api/workspace.delete", operators, "Pauses a workspace, closes its connections and drops its database.", deleteRequest{}, workspaceAnswer{}, (*Server).deleteWorkspace},
}
