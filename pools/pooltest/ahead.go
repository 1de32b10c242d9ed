package pooltest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ahead holds copies of the template that no test has taken yet.
type ahead struct {
	ready chan made
	ended <-chan struct{}
}

type made struct {
	database string
	err      error
}

// makers is how many copies are made at once. Most of the time they wait for checkpoints,
// which they share.
const makers = 2

// aheadAtMost is how many copies lie ready, besides those that the makers hold: enough for
// the tests that run in parallel to begin together.
func aheadAtMost() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

var errEnded = errors.New("the server was stopped")

// makeAhead begins to make copies, until ctx is done.
func makeAhead(ctx context.Context, running *sync.WaitGroup, admin *pgxpool.Pool, copying func(name string) string) *ahead {
	a := &ahead{ready: make(chan made, aheadAtMost()), ended: ctx.Done()}
	var number atomic.Int64
	for range makers {
		running.Go(func() {
			for ctx.Err() == nil {
				name := fmt.Sprintf("pooltest_%d", number.Add(1))
				_, err := admin.Exec(ctx, copying(name))
				select {
				case a.ready <- made{name, err}:
				case <-ctx.Done():
				}
			}
		})
	}
	return a
}

// take blocks until a copy is ready.
func (a *ahead) take() (database string, err error) {
	select {
	case m := <-a.ready:
		return m.database, m.err
	case <-a.ended:
		return "", errEnded
	}
}

// copyTemplate returns the statement that copies the template for the owner: file by file,
// which PostgreSQL 15 and later do only if asked to. The other way writes every page to the
// log, and takes more than twice as long where a checkpoint costs nothing
// (BenchmarkWorkspace).
func copyTemplate(ctx context.Context, admin *pgxpool.Pool, owner string) (func(name string) string, error) {
	const sql = "SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ' STRATEGY FILE_COPY' ELSE '' END"
	var strategy string
	if err := admin.QueryRow(ctx, sql).Scan(&strategy); err != nil {
		return nil, err
	}
	return func(name string) string {
		return "CREATE DATABASE " + quote(name) + " OWNER " + quote(owner) + " TEMPLATE " + quote(template) + strategy
	}, nil
}
