package web

import (
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// handlers is what the handlers share.
type handlers struct {
	snapshots *snapshots
	exporter  http.Handler // of the metrics
	// limitsTurn holds one token while a request changes the limits.
	limitsTurn chan struct{}
	// dumping holds one token while a dump is made and sent.
	dumping chan struct{}
	// streams are the open event streams, bodies the large ones that are being read,
	// queries the statements under way.
	streams, bodies, queries *turns
	// draining: a drain that a request asked for is under way or done.
	draining atomic.Bool
}

func newHandlers(pool Pool, o Options) *handlers {
	snapshots := newSnapshots(pool)
	return &handlers{
		snapshots:  snapshots,
		limitsTurn: make(chan struct{}, 1),
		dumping:    make(chan struct{}, 1),
		streams:    newTurns(o.streamBounds()),
		bodies:     newTurns(2*o.Query.Concurrent, o.Query.ConcurrentPerSubject),
		queries:    newTurns(o.Query.Concurrent, o.Query.ConcurrentPerSubject),
	}
}

// readWorkspace reads a body that names a workspace and says nothing else.
func (s *Server) readWorkspace(c echo.Context) (model.WorkspaceID, error) {
	var r workspaceRequest
	if err := s.readJSON(c, &r); err != nil {
		return "", err
	}
	return r.WorkspaceID, namesWorkspace(c, r.WorkspaceID)
}

// namesWorkspace refuses what is no id of a workspace, and notes for the access log what
// is one.
func namesWorkspace(c echo.Context, id model.WorkspaceID) error {
	if id == "" {
		return badRequest("workspaceId is required")
	}
	if err := id.Validate(); err != nil {
		return badRequest("workspaceId is not valid: %v", err)
	}
	c.Set(workspaceKey, string(id))
	return nil
}
