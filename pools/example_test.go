package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// A program opens one Manager at its start, and closes it after its server.
func ExampleOpen() {
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		log.Fatal(err) // names every variable that is wrong, and its range
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	manager, err := pools.Open(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	<-ctx.Done() // serve requests until then

	ending, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	if err := manager.Close(ending); err != nil {
		log.Print(err) // which leases are still out
	}
}

// A handler that needs several queries borrows one connection for all of them.
func ExampleManager_Acquire() {
	var manager *pools.Manager // of pools.Open

	http.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		id, err := model.ParseWorkspaceID(r.Header.Get("X-Workspace"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		conn, err := manager.Acquire(r.Context(), id)
		if err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		defer conn.Release()

		err = pgx.BeginFunc(r.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(r.Context(), `INSERT INTO orders (item) VALUES ($1)`, r.FormValue("item")); err != nil {
				return err
			}
			_, err := tx.Exec(r.Context(), `UPDATE stock SET left = left - 1 WHERE item = $1`, r.FormValue("item"))
			return err
		})
		if err != nil {
			http.Error(w, "the order failed", http.StatusInternalServerError)
		}
	})
}

// For a single query there is nothing to give back.
func ExampleManager_Workspace() {
	var (
		ctx     = context.Background()
		manager *pools.Manager // of pools.Open
	)
	orders := manager.Workspace("customer-42")

	var n int
	if err := orders.QueryRow(ctx, `SELECT count(*) FROM orders`).Scan(&n); err != nil {
		log.Print(err)
	}
	rows, err := orders.Query(ctx, `SELECT item FROM orders`)
	if err != nil {
		log.Print(err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowTo[string]) // closes the rows
	fmt.Println(n, items, err)
}

// Code written for database/sql runs on the same connections.
func ExampleWorkspace_DB() {
	var (
		ctx     = context.Background()
		manager *pools.Manager // of pools.Open
	)
	db := manager.Workspace("customer-42").DB() // not to be closed

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Print(err)
		return
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (item) VALUES ($1)`, "tea"); err != nil {
		log.Print(err)
		return
	}
	if err := tx.Commit(); err != nil {
		log.Print(err)
	}
}

// A tool that closes what it is given gets a *sql.DB of its own.
func ExampleWorkspace_Connector() {
	var (
		manager *pools.Manager                       // of pools.Open
		migrate func(context.Context, *sql.DB) error // as goose or golang-migrate would
	)
	db := sql.OpenDB(manager.Workspace("customer-42").Connector())
	defer db.Close()
	if err := migrate(context.Background(), db); err != nil {
		log.Print(err)
	}
}

// pgx beneath a database/sql connection.
func ExampleWorkspace_DB_raw() {
	var (
		ctx     = context.Background()
		manager *pools.Manager // of pools.Open
	)
	conn, err := manager.Workspace("customer-42").DB().Conn(ctx)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	err = conn.Raw(func(driverConn any) error {
		pgxConn := driverConn.(interface{ Conn() *pgx.Conn }).Conn()
		_, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"item"}, pgx.CopyFromRows([][]any{{"tea"}, {"salt"}}))
		return err
	})
	if err != nil {
		log.Print(err)
	}
}

// An acquire that fails says which limit it was, so that the answer fits.
func ExampleManager_Acquire_limit() {
	var manager *pools.Manager // of pools.Open

	status := func(ctx context.Context, id model.WorkspaceID) int {
		err := manager.Workspace(id).Ping(ctx)
		var (
			limit *model.ConnectionLimitError
			dial  *model.DialError
		)
		switch {
		case err == nil:
			return http.StatusOK
		case errors.Is(err, context.Canceled):
			return 499 // the client went away
		case errors.As(err, &limit) && limit.Limit == model.WorkspaceLimit:
			log.Printf("workspace %s holds %d of its %d connections", limit.WorkspaceID, limit.CurrentWorkspace, limit.MaxPerWorkspace)
			return http.StatusTooManyRequests
		case errors.As(err, &limit):
			log.Printf("%d of %d connections are taken, %d requests wait", limit.CurrentConnections, limit.MaxConnections, limit.Waiting)
			return http.StatusServiceUnavailable
		case errors.As(err, &dial) && dial.Kind == model.Permanent:
			return http.StatusNotFound // there is no such database, or no right to connect
		}
		return http.StatusInternalServerError
	}
	_ = status
}
