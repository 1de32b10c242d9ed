package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// churning is what the soak's requests do: now and then they leave a transaction
// open, or are in the midst of a query when an impatient client goes away.
func churning(ctx context.Context, conn *pools.Conn) error {
	switch rand.IntN(50) {
	case 0:
		_, err := conn.Begin(ctx)
		return err
	case 1:
		_, err := conn.Exec(ctx, `SELECT pg_sleep(0.03)`) // longer than impatience
		return err
	default:
		return ordinary(ctx, conn)
	}
}

// churn is what else leaks come from.
type churn struct {
	t       *testing.T
	manager *pools.Manager
	traffic *traffic
	ending  chan struct{}
	wg      sync.WaitGroup

	terminated int // only terminate touches it
}

func startChurn(t *testing.T, m *pools.Manager, tr *traffic) *churn {
	c := &churn{t: t, manager: m, traffic: tr, ending: make(chan struct{})}
	for _, part := range []struct {
		every time.Duration
		do    func(n int)
	}{
		{time.Millisecond, c.regular},
		{time.Millisecond, c.regular},
		{time.Millisecond, c.regular},
		{10 * time.Millisecond, c.guest},
		{100 * time.Millisecond, c.stranger},
		{20 * time.Millisecond, c.sqlUser},
		{50 * time.Millisecond, c.watcher},
		{200 * time.Millisecond, c.operator},
		{time.Second, c.terminate},
	} {
		c.wg.Go(func() {
			for n := 0; !within(c.ending, part.every); n++ {
				part.do(n)
			}
		})
	}
	return c
}

// stop waits until all is over.
func (c *churn) stop() {
	close(c.ending)
	c.wg.Wait()
}

// regular finds its connection where it left it, mostly: many short requests.
func (c *churn) regular(n int) {
	c.request(func(ctx context.Context) error {
		conn, err := c.manager.Acquire(ctx, workspace(1+n%2))
		if err != nil {
			return err
		}
		defer conn.Release()
		return ask(ctx, conn, 1+n%2)
	})
}

// guest is a workspace that nobody has heard of before, nor will again: whatever is
// kept for each workspace grows. Its database is that of another one.
func (c *churn) guest(n int) {
	i := n % workspaces
	c.request(func(ctx context.Context) error {
		conn, err := c.manager.Acquire(ctx, model.WorkspaceID(fmt.Sprintf("%s-%d", workspace(i), n)))
		if err != nil {
			return err
		}
		defer conn.Release()
		return ask(ctx, conn, i)
	})
}

// stranger is a workspace that has no database, another one each time.
func (c *churn) stranger(n int) {
	c.request(func(ctx context.Context) error {
		conn, err := c.manager.Acquire(ctx, model.WorkspaceID(fmt.Sprintf("nobody%d", n)))
		if err == nil {
			conn.Release()
			return errors.New("a workspace without a database was lent a connection")
		}
		if causeOf(err) == "3D000" {
			return nil
		}
		return err
	})
}

// sqlUser asks by database/sql, in a transaction that it ends or lets its context end.
func (c *churn) sqlUser(n int) {
	i := n % workspaces
	c.request(func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		tx, err := c.manager.Workspace(workspace(i)).DB().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err = askTx(ctx, tx, i); err == nil && rand.IntN(2) == 0 {
			err = tx.Commit()
		}
		if errors.Is(err, sql.ErrTxDone) { // database/sql does not say that its time was over
			err = errors.Join(err, ctx.Err())
		}
		return err
	})
}

func askTx(ctx context.Context, tx *sql.Tx, i int) error {
	statement, err := tx.PrepareContext(ctx, `SELECT workspace FROM identity WHERE $1::int8 > 0`)
	if err != nil {
		return err
	}
	defer func() { _ = statement.Close() }()
	var found string
	if err := statement.QueryRowContext(ctx, 1+rand.Int64N(9)).Scan(&found); err != nil {
		return err
	}
	if found != string(workspace(i)) {
		return fmt.Errorf("%w: asked %q, %q answered", errWrongAnswer, workspace(i), found)
	}
	return nil
}

// request counts one with the traffic's.
func (c *churn) request(do func(context.Context) error) {
	began := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), requestTime)
	defer stop()
	c.traffic.note(began, requestTime, do(ctx))
}

// watcher comes, and goes without reading all, or anything.
func (c *churn) watcher(n int) {
	ctx, stop := context.WithTimeout(context.Background(), requestTime)
	defer stop()
	events, err := c.manager.Events(ctx, 4)
	if err != nil {
		c.t.Errorf("watch events: %v", err)
		return
	}
	for range n % 8 {
		select {
		case <-events:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// operator does what operators do, one thing at a time.
func (c *churn) operator(n int) {
	ctx, stop := context.WithTimeout(context.Background(), requestTime)
	defer stop()
	id := workspace(rand.IntN(workspaces))
	perDB := config().MaxConnectionsPerDB
	var err error
	switch n % 4 {
	case 0:
		_, err = c.manager.Evict(ctx, id)
	case 1:
		_, err = c.manager.Pause(ctx, id)
		err = errors.Join(err, c.manager.Resume(ctx, id))
	case 2:
		_, err = c.manager.SetLimits(ctx, connections, perDB-1)
	case 3:
		_, err = c.manager.SetLimits(ctx, soakConnections, perDB)
	}
	if err != nil {
		c.t.Errorf("an operator's work: %v", err)
	}
}

// terminate ends a random session.
func (c *churn) terminate(int) {
	result, err := control.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 ORDER BY random() LIMIT 1`, server.User)
	if err != nil {
		c.t.Errorf("terminate a session: %v", err)
		return
	}
	ended, _ := result.RowsAffected()
	c.terminated += int(ended)
}
