package serverview_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/serverview"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const often = 5 * time.Millisecond

func TestWatch(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	server, err := localpg.Start(ctx, localpg.Options{
		MaxConnections: 6, // 3 for the role, 1 for the watch, 2 reserved
		Settings:       map[string]string{"superuser_reserved_connections": "2"},
		InMemory:       true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	start := func(t *testing.T) *serverview.Watch {
		t.Helper()
		w, err := serverview.Start(ctx, server.SuperuserDSN(), server.User, often)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	count := func(t *testing.T, w *serverview.Watch) int {
		t.Helper()
		n, err := w.Count(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("counts the role's connections on a full server", func(t *testing.T) {
		w := start(t)
		if n := count(t, w); n != 0 {
			t.Errorf("%d connections before there is one", n)
		}
		for i := range 3 { // as many as the server grants
			conn, err := pgx.Connect(ctx, applicationDSN(server))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			if n := count(t, w); n != i+1 {
				t.Errorf("%d connections, want %d", n, i+1)
			}
		}
		w.Stop()
		second := start(t) // the first one's reserved connection is free again
		if n := second.Peak(); n != 3 {
			t.Errorf("Start counted %d, want 3", n)
		}
	})
	t.Run("keeps the peak, and samples by itself", func(t *testing.T) {
		w := start(t)
		conn, err := pgx.Connect(ctx, applicationDSN(server))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for before := w.Samples(); w.Samples() < before+2; {
			wait(ctx, t)
		}
		if w.Peak() == 0 {
			t.Error("it looked at the server and saw no connection")
		}
		_ = conn.Close(ctx)
		for count(t, w) > 0 {
			wait(ctx, t)
		}
		if w.Peak() == 0 {
			t.Error("the peak is forgotten")
		}
	})
	t.Run("stopped", func(t *testing.T) {
		w := start(t)
		w.Stop()
		w.Stop()
		if _, err := w.Count(ctx); err == nil || !strings.Contains(err.Error(), "was stopped") {
			t.Errorf("Count after Stop: %v", err)
		}
		if err := w.Err(); err != nil {
			t.Errorf("Err after Stop: %v", err)
		}
	})
	t.Run("a context that is done", func(t *testing.T) {
		done, cancel := context.WithCancel(ctx)
		cancel()
		w := start(t)
		for range 20 {
			if n, err := w.Count(done); err == nil && n != 0 {
				t.Errorf("Count: %d", n)
			}
		}
		if n := count(t, w); n != 0 { // the watch goes on
			t.Errorf("Count: %d", n)
		}
	})
	t.Run("bad arguments", func(t *testing.T) {
		for _, test := range []struct {
			dsn   string
			every time.Duration
			want  string
		}{
			{server.SuperuserDSN(), 0, "the interval is 0s"},
			{strings.Replace(server.SuperuserDSN(), "password=", "password=wrong", 1), often, "password authentication failed"},
		} {
			_, err := serverview.Start(ctx, test.dsn, server.User, test.every)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			} else if strings.Contains(err.Error(), "password=") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("the error shows the DSN: %v", err)
			}
		}
	})
	t.Run("the server goes away", func(t *testing.T) {
		w := start(t)
		if err := server.Shutdown(ctx, localpg.Fast); err != nil {
			t.Fatal(err)
		}
		for w.Err() == nil {
			wait(ctx, t)
		}
		if _, err := w.Count(ctx); err == nil || err.Error() != w.Err().Error() {
			t.Errorf("Count: %v, want %v", err, w.Err())
		}
		w.Stop()
		if w.Err() == nil {
			t.Error("Stop has hidden the failure")
		}
	})
}

func applicationDSN(s *localpg.Server) string {
	config, _ := pgx.ParseConfig(s.SuperuserDSN())
	dsn := strings.Replace(s.SuperuserDSN(), "user="+config.User, "user="+s.User, 1)
	return strings.Replace(dsn, "password="+config.Password, "password="+s.Password, 1)
}

// wait is a pause between two looks at a condition, which ctx bounds.
func wait(ctx context.Context, t *testing.T) {
	t.Helper()
	timer := time.NewTimer(often)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		t.Fatal("it took too long")
	}
}
