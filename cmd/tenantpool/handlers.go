package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// handler is one kind of request.
type handler struct {
	name string
	// weight is how many in a thousand requests are of this kind.
	weight int
	serve  func(context.Context, *pools.Conn, *rand.Rand) error
	// cancels: its context is cancelled on the way, and it must fail with that.
	cancels bool
}

var handlers = []handler{
	{name: "browse", weight: 400, serve: browse},
	{name: "order", weight: 349, serve: order},
	{name: "check out", weight: 200, serve: checkOut},
	{name: "give up", weight: 25, serve: giveUp, cancels: true},
	{name: "give up in a transaction", weight: 25, serve: giveUpInTransaction, cancels: true},
	{name: "archive", weight: 1, serve: archive},
}

func pickHandler(rng *rand.Rand) handler {
	n := rng.IntN(1000)
	for _, h := range handlers {
		if n -= h.weight; n < 0 {
			return h
		}
	}
	panic("the handlers' weights are less than 1000 together")
}

var items = []string{"apples", "bread", "coffee", "dates", "eggs", "flour", "grapes", "honey"}

const insertOrder = "INSERT INTO orders (item, quantity) VALUES ($1, $2) RETURNING id"

// browse reads a few rows.
func browse(ctx context.Context, conn *pools.Conn, _ *rand.Rand) error {
	rows, err := conn.Query(ctx, "SELECT id, item, quantity FROM orders ORDER BY id DESC LIMIT 10")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var item string
		var quantity int
		if err := rows.Scan(&id, &item, &quantity); err != nil {
			return err
		}
	}
	return rows.Err()
}

// order writes a row and adds up the last ones, of which there may be none: an
// archive may come in between.
func order(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	var id, quantity int64
	if err := conn.QueryRow(ctx, insertOrder, items[rng.IntN(len(items))], 1+rng.IntN(9)).Scan(&id); err != nil {
		return err
	}
	const lately = "SELECT coalesce(sum(quantity), 0) FROM orders WHERE id > $1 - 50"
	return conn.QueryRow(ctx, lately, id).Scan(&quantity)
}

// checkOut reads and writes in a transaction.
func checkOut(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // does nothing after Commit
	var id int64
	if err := tx.QueryRow(ctx, insertOrder, "basket", 1+rng.IntN(9)).Scan(&id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE orders SET quantity = quantity + 1 WHERE id = $1", id); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// giveUp is a request whose client goes away in the middle of a slow query.
func giveUp(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cancelSoon(cancel, rng)
	_, err := conn.Exec(ctx, slowQuery)
	return err
}

// giveUpInTransaction leaves a transaction as most handlers do: with a Rollback
// in a context that is done, which costs the connection.
func giveUpInTransaction(ctx context.Context, conn *pools.Conn, rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, insertOrder, "nothing", 0); err != nil {
		return err
	}
	cancelSoon(cancel, rng)
	_, err = tx.Exec(ctx, slowQuery)
	return err
}

// slowQuery sleeps much longer than cancelSoon leaves it.
const slowQuery = "SELECT pg_sleep(10)"

func cancelSoon(cancel context.CancelFunc, rng *rand.Rand) {
	time.AfterFunc(time.Duration(1+rng.IntN(9))*time.Millisecond, cancel)
}

// archive keeps the table small in a demo that runs for hours: there is no
// vacuum.
func archive(ctx context.Context, conn *pools.Conn, _ *rand.Rand) error {
	_, err := conn.Exec(ctx, "TRUNCATE orders")
	return err
}
