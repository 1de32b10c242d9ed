// Package web is the admin server: it shows the connections, steers them, and
// runs statements for programs that are not written in Go.
//
// Requests come in with a PASETO token; JSON, server-sent events, metrics for Prometheus
// and the dashboard's page go out. The manager is a [Pool], an interface of this package,
// which imports neither pools nor pgx. [New] checks that every route has a role;
// [Server.Mount] puts the routes on an Echo instance of the user's own, and [Server.Serve]
// serves them alone.
//
// Who may do what is in routes.go and nowhere else.
package web
