package pooltest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/pooltest"
)

// Hours pass at once in a bubble.
func TestTheFakeInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
			return pooltest.Rows("n").Row(len(q.SQL)), nil
		})
		fake.CreateDatabase("shop")
		config, err := pgx.ParseConfig("host=fake user=x dbname=shop sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.DialFunc = fake.Dial
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fake.SetLatency(3 * time.Hour)
		long := "SELECT '" + strings.Repeat("x", 1<<20) + "'"
		var n int
		if err := conn.QueryRow(t.Context(), long).Scan(&n); err != nil || n != len(long) {
			t.Error(n, err)
		}
		if took := time.Since(began); took != 3*time.Hour {
			t.Errorf("it took %v", took)
		}
		fake.SetLatency(time.Hour)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err := conn.Exec(ctx, "SELECT late"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		_ = conn.Close(t.Context())
	})
}

// A program's limits and its patience are tested in no time.
func TestAManagerInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
			if q.SQL == "UPDATE t SET a = $1" {
				ran++
			}
			return nil, nil
		})
		fake.Workspace("acme")
		m := fake.Open(func(cfg *model.Config) {
			cfg.MaxConnectionsPerDB, cfg.AcquireTimeout = 1, 30*time.Second
			cfg.ConnectionMaxIdleTime = 5 * time.Minute
		})
		w := m.Workspace("acme")
		update := func(ctx context.Context) error {
			_, err := w.Exec(ctx, "UPDATE t SET a = $1", 1)
			return err
		}
		began := time.Now()
		passed := func(what string, d time.Duration) {
			t.Helper()
			if took := time.Since(began); took != d {
				t.Errorf("%s: it took %v", what, took)
			}
			began = time.Now()
		}
		if err := update(t.Context()); err != nil || ran != 1 {
			t.Fatal(ran, err)
		}
		passed("an update", 0)

		conn, err := w.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var limit *model.ConnectionLimitError
		if err := update(t.Context()); !errors.As(err, &limit) {
			t.Error("at the cap:", err)
		}
		passed("waiting in vain", 30*time.Second)
		time.AfterFunc(20*time.Second, conn.Release)
		if err := update(t.Context()); err != nil {
			t.Error("after a release:", err)
		}
		passed("waiting", 20*time.Second)

		fake.SetLatency(time.Hour)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := update(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("of a slow server:", err)
		}
		fake.SetLatency(0)
		began = time.Now()

		time.AfterFunc(10*time.Second, func() { fake.SetDown(false) })
		fake.SetDown(true)
		throughout := func() error { // as a client that repeats what a lost connection broke
			for {
				if err := update(t.Context()); !errors.Is(err, model.ErrConnectionLost) {
					return err
				}
			}
		}
		if err := throughout(); err != nil || time.Since(began) < 10*time.Second || time.Since(began) > 15*time.Second {
			t.Error("of a server that was down:", err, time.Since(began))
		}

		time.Sleep(6 * time.Minute)
		if stats, err := m.Stats(t.Context()); err != nil || stats.Workspaces.Idle != 0 {
			t.Errorf("%d connections are idle after six minutes (%v)", stats.Workspaces.Idle, err)
		}
	})
}

// Who sends several queries before reading the first answer does not wait for ever.
func TestAClientMayWriteBeforeItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := pooltest.NewFake(t, nil)
		fake.CreateDatabase("shop")
		conn, err := fake.Dial(t.Context(), "tcp", "fake:5432")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := pgproto3.NewFrontend(conn, conn)
		client.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"database": "shop"}})
		for range 3 {
			client.SendQuery(&pgproto3.Query{String: "SELECT '" + strings.Repeat("x", 1<<16) + "'"})
		}
		if err := client.Flush(); err != nil {
			t.Fatal(err)
		}
		for ready := 0; ready < 4; { // the first is that of the login
			message, err := client.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if _, is := message.(*pgproto3.ReadyForQuery); is {
				ready++
			}
		}
	})
}
