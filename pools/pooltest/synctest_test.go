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
