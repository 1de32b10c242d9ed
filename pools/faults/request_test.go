package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// requestTime is the deadline of a request. In the short form measureDial sets it.
var requestTime = 2 * time.Second

// errWrongAnswer is what must never happen.
var errWrongAnswer = errors.New("wrong answer")

// ask reads back whose database the connection leads to, and a number that only
// this request knows: an answer to somebody else's question would have another.
func ask(ctx context.Context, conn *pools.Conn, i int) error {
	question := rand.Int64()
	var workspaceFound string
	var answer int64
	err := conn.QueryRow(ctx, `SELECT workspace, $1::int8 FROM identity`, question).Scan(&workspaceFound, &answer)
	switch {
	case err != nil:
		return err
	case workspaceFound != string(workspace(i)) || answer != question:
		return fmt.Errorf("%w: asked %q for %d, %q answered %d", errWrongAnswer, workspace(i), question, workspaceFound, answer)
	}
	return nil
}

// request is one web request: it asks, works, and asks again.
func request(ctx context.Context, m *pools.Manager, i int, work func(context.Context, *pools.Conn) error) error {
	conn, err := m.Acquire(ctx, workspace(i))
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := ask(ctx, conn, i); err != nil {
		return err
	}
	if err := work(ctx, conn); err != nil {
		return err
	}
	return ask(ctx, conn, i)
}

// ordinary is what most requests do between their questions.
func ordinary(ctx context.Context, conn *pools.Conn) error {
	switch rand.IntN(10) {
	case 0: // a transaction
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := tx.Exec(ctx, `SELECT pg_sleep(0.002)`); err != nil {
			return err
		}
		return tx.Commit(ctx)
	case 1: // many rows
		rows, err := conn.Query(ctx, `SELECT generate_series(1, 5000)`)
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	default:
		_, err := conn.Exec(ctx, `SELECT pg_sleep(0.001)`)
		return err
	}
}

// impatience is the deadline of a request whose client goes away in the midst of it.
const impatience = 20 * time.Millisecond
