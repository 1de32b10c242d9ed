package bench

import (
	"context"
	"errors"
)

// strategy is one way to get at many workspaces' databases.
type strategy interface {
	label() string
	// open makes it ready for requests to the workspaces, which are known by
	// their place in the stage's databases. The error wraps errNoTurn when the
	// others are to go on without it.
	open(ctx context.Context, s *setting) (pool, error)
}

// pool is a strategy at work. All methods but close may be called by many at
// once.
type pool interface {
	acquire(ctx context.Context, workspace int) (lease, error)
	// made is how many connections to the server it has opened so far.
	made() uint64
	// close ends it, when nothing is lent.
	close(ctx context.Context) error
}

// lease is a connection lent to one goroutine.
type lease interface {
	query(ctx context.Context, sql string) error
	release()
}

var errNoTurn = errors.New("no turn")

// strategies in the order of the report.
func strategies() []strategy {
	return []strategy{ours{}, perRequest{}, poolPerWorkspace{}, sqlPools{}, pgBouncer{}}
}

// Strategies are the names for Options.
func Strategies() (names []string) {
	for _, s := range strategies() {
		names = append(names, s.label())
	}
	return names
}
