// Package web is the admin server: it shows the connections, steers them, and
// runs statements for programs that are not written in Go.
//
// It knows the manager only as a [Pool]. [New] checks that every route has a
// role; [Server.Mount] puts the routes on an Echo instance of the user's own,
// [Server.Serve] serves them alone.
//
// Who may do what is in routes.go and nowhere else.
package web
