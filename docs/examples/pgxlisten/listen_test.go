package pgxlisten_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/pgxlisten"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestListen(t *testing.T) {
	manager := throwaway.Open(t)
	w := throwaway.Workspace(t, manager)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	heard, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- pgxlisten.Listen(ctx, w, "orders", time.Millisecond, func(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
			heard <- n.Payload
			return nil
		})
	}()
	hear := func(what string) {
		t.Helper()
		throwaway.Eventually(t, "the listener hears "+what, func() bool {
			if _, err := w.Exec(context.Background(), `SELECT pg_notify('orders', $1)`, what); err != nil {
				t.Fatal(err)
			}
			for {
				select {
				case payload := <-heard:
					if payload == what {
						return true
					}
				default:
					return false
				}
			}
		})
	}
	hear("tea")

	// Another connection takes the place of one that is lost.
	var terminated int
	err := w.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND query = 'listen "orders"'`).Scan(&terminated)
	if err != nil || terminated != 1 {
		t.Fatal(terminated, err)
	}
	hear("salt")
	if n := throwaway.Lent(t, manager); n != 1 {
		t.Errorf("%d connections are lent, and not only the listener's", n)
	}

	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	throwaway.NothingLent(t, manager)
	// The session is over: nobody gets a connection on which somebody else listens.
	throwaway.Eventually(t, "nobody listens", func() bool {
		var listening int
		err := manager.System().QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE query = 'listen "orders"'`).Scan(&listening)
		if err != nil {
			t.Fatal(err)
		}
		return listening == 0
	})
}
