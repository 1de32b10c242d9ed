package web

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
