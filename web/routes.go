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

var (
	anybody   = []Role{public}
	viewers   = []Role{Viewer, Operator}
	operators = []Role{Operator}
	services  = []Role{Service}
)

// routes is the whole API.
var routes = []route{
	{http.MethodGet, "/", anybody, (*Server).dashboard},
	{http.MethodGet, "/assets/*", anybody, (*Server).asset},
	{http.MethodGet, "/healthz", anybody, (*Server).healthz},
	{http.MethodGet, "/readyz", anybody, (*Server).readyz},
	{http.MethodGet, "/metrics", viewers, (*Server).metrics},
	{http.MethodGet, "/api/openapi.json", anybody, (*Server).openAPI},

	{http.MethodGet, statsPath, viewers, (*Server).connectionStats},
	{http.MethodGet, eventsPath, viewers, (*Server).events},
	{http.MethodGet, "/api/admin.usage", viewers, (*Server).usage},
	{http.MethodGet, "/api/admin.replicas", viewers, (*Server).replicas},
	{http.MethodGet, "/api/admin.door", viewers, (*Server).door},
	{http.MethodGet, "/api/admin.capacity", viewers, (*Server).capacity},
	{http.MethodPost, "/api/admin.evictWorkspace", operators, (*Server).evictWorkspace},
	{http.MethodPost, "/api/admin.renewWorkspace", operators, (*Server).renewWorkspace},
	{http.MethodPost, "/api/admin.renewAll", operators, (*Server).renewAll},
	{http.MethodPost, "/api/admin.pauseWorkspace", operators, (*Server).pauseWorkspace},
	{http.MethodPost, "/api/admin.resumeWorkspace", operators, (*Server).resumeWorkspace},
	{http.MethodPost, "/api/admin.setLimits", operators, (*Server).setLimits},
	{http.MethodPost, "/api/admin.drain", operators, (*Server).drain},
	{http.MethodPost, dumpPath, operators, (*Server).dump},

	{http.MethodPost, queryPath, services, (*Server).query},
	{http.MethodPost, "/api/workspace.create", operators, (*Server).createWorkspace},
	{http.MethodGet, "/api/workspace.list", operators, (*Server).listWorkspaces},
	{http.MethodPost, "/api/workspace.delete", operators, (*Server).deleteWorkspace},
	{http.MethodPost, "/api/workspace.rename", operators, (*Server).renameWorkspace},
	{http.MethodPost, "/api/workspace.settings", operators, (*Server).workspaceSettings},
}

// withHead adds to each GET a HEAD: the same headers, without a body, which net/http
// leaves out.
func withHead(routes []route) []route {
	var all []route
	for _, r := range routes {
		all = append(all, r)
		if r.method == http.MethodGet {
			r.method = http.MethodHead
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
