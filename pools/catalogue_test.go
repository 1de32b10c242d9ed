package pools_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Thirty scanners ask for one unknown id after the other, while every slot is taken
// by a workspace that is in use now and then.
func TestUnknownIDsCostNobodyAConnection(t *testing.T) {
	m := open(t, config(20))
	budget := stats(t, m).Workspaces.Budget
	warm := func() {
		for i := range budget {
			if err := m.Workspace(workspaceID(i)).Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	warm()
	before := stats(t, m).Workspaces
	if before.Idle+before.InUse != budget {
		t.Fatalf("the budget is not full: %+v", before.Counts)
	}
	var scanners sync.WaitGroup
	for s := range 30 {
		scanners.Go(func() {
			for i := range 10 {
				id := model.WorkspaceID(fmt.Sprintf("unknown-%d-%d", s, i))
				err := m.Workspace(id).Ping(t.Context())
				var dial *model.DialError
				if !errors.As(err, &dial) || dial.Kind != model.Permanent || dial.Attempts != 0 ||
					!errors.Is(err, model.ErrNoWorkspace) || !strings.Contains(err.Error(), "create the database first") {
					t.Errorf("%v", err)
				}
			}
		})
	}
	for range 5 {
		warm()
	}
	scanners.Wait()
	warm()
	after := stats(t, m).Workspaces
	if after.Counters.Dials != before.Counters.Dials || after.Counters.Closes != before.Counters.Closes || after.Waits.Sum != before.Waits.Sum {
		t.Errorf("unknown ids cost dials, connections or waits:\n%+v\n%+v", before.Counters, after.Counters)
	}
}

func TestWhatCannotBeConnectedIsRefusedWithoutADial(t *testing.T) {
	m := open(t, config(20))
	watch := dropLater(t, "test_ws_shut", "test_ws_half", "test_ws_private", "test_ws_zero")
	statements(t, watch,
		`CREATE DATABASE test_ws_shut ALLOW_CONNECTIONS false`,
		`CREATE DATABASE test_ws_half`, `UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'test_ws_half'`,
		`CREATE DATABASE test_ws_private`, `REVOKE CONNECT ON DATABASE test_ws_private FROM PUBLIC`,
		`CREATE DATABASE test_ws_zero CONNECTION LIMIT 0`)
	t.Cleanup(func() {
		statements(t, watch, `UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'test_ws_half'`)
	})
	for id, remedy := range map[model.WorkspaceID]string{
		"shut": "ALLOW_CONNECTIONS true", "half": "dropped and created again", "private": "GRANT CONNECT", "zero": "CONNECTION LIMIT",
	} {
		var dial *model.DialError
		err := m.Workspace(id).Ping(t.Context())
		if !errors.As(err, &dial) || dial.Kind != model.Permanent || !strings.Contains(err.Error(), remedy) || errors.Is(err, model.ErrNoWorkspace) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if c := stats(t, m).Workspaces.Counters; c.Dials != 0 {
		t.Errorf("%d dials", c.Dials)
	}
	m.log.line(t, "Workspace refused", `"workspace_id":"shut"`)
}

// A restore drops the database and creates it again.
func TestThoseWhoWaitForAPausedWorkspaceWaitThoughItsDatabaseIsGone(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "restore")
	if _, err := m.Pause(t.Context(), "restore"); err != nil {
		t.Fatal(err)
	}
	statements(t, watch, `DROP DATABASE test_ws_restore`)
	waiter := make(chan error, 1)
	go func() { waiter <- m.Workspace("restore").Ping(t.Context()) }()
	eventually(t, "it waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 || len(waiter) > 0 })
	statements(t, watch, `CREATE DATABASE test_ws_restore OWNER `+server.User)
	if err := m.Resume(t.Context(), "restore"); err != nil {
		t.Fatal(err)
	}
	if err := <-waiter; err != nil {
		t.Error(err)
	}
}

// The catalogue is a help. When it does not answer, the dial finds out.
func TestWithoutTheCatalogueTheDialDecides(t *testing.T) {
	admin := in(t, server.Database)
	statements(t, admin, `REVOKE SELECT ON pg_catalog.pg_database FROM PUBLIC`)
	t.Cleanup(func() { statements(t, admin, `GRANT SELECT ON pg_catalog.pg_database TO PUBLIC`) })
	dialDecides(t, open(t, config(20)))
}

// A proxy may have names of its own for databases: then the server's catalogue says
// nothing about them.
func TestBehindAProxyThatRenamesDatabasesTheDialDecides(t *testing.T) {
	cfg := config(20)
	cfg.SystemDatabase, cfg.Prefix = "alias_"+cfg.SystemDatabase, "alias_"+cfg.Prefix
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, func(client net.Conn) {
		message, err := pgproto3.NewBackend(client, client).ReceiveStartupMessage()
		startup, ok := message.(*pgproto3.StartupMessage)
		if err != nil || !ok {
			return
		}
		startup.Parameters["database"] = strings.TrimPrefix(startup.Parameters["database"], "alias_")
		to, err := net.Dial("tcp", net.JoinHostPort(server.Host, strconv.Itoa(server.Port)))
		if err != nil {
			return
		}
		encoded, _ := startup.Encode(nil)
		_, _ = to.Write(encoded)
		relay(client, to)
	}).Port
	dialDecides(t, open(t, cfg))
}

func dialDecides(t *testing.T, m *manager) {
	t.Helper()
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Errorf("a workspace that is there: %v", err)
	}
	var dial *model.DialError
	if err := m.Workspace("nowhere").Ping(t.Context()); !errors.As(err, &dial) || dial.Attempts != 1 || !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("one that is not there: %v", err)
	}
	m.log.line(t, "The server's catalogue was not asked")
	for what, steer := range steering(m) {
		if err := steer(t.Context(), "nowhere"); err != nil {
			t.Errorf("%s, where the catalogue never tells: %v", what, err)
		}
	}
}

// slowCatalogue has the databases whose name begins with "is". Its queries wait.
type slowCatalogue struct {
	queries chan []string // a query, when it begins
	answer  chan error
}

func (s slowCatalogue) look(ctx context.Context, names []string) (missing []string, err error) {
	s.queries <- names
	select {
	case err = <-s.answer:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "is") }), err
}

func startSlowCatalogue(t *testing.T) (slowCatalogue, *pools.Catalogue) {
	t.Helper()
	s := slowCatalogue{make(chan []string), make(chan error)}
	c := pools.StartCatalogue(s.look)
	t.Cleanup(c.Stop)
	return s, c
}

func TestWhoeverAsksTheCatalogueDuringAQueryIsInTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := startSlowCatalogue(t)
		errs := make(chan error, 101)
		ask := func(name string) { errs <- c.Ask(t.Context(), name) }
		go ask("is-first")
		first := <-s.queries
		for i := range 50 {
			go ask(fmt.Sprint("is-", i))
			go ask(fmt.Sprint("not-", i))
		}
		synctest.Wait()
		s.answer <- nil
		second := <-s.queries
		s.answer <- nil
		refused := 0
		for range 101 {
			if err := <-errs; errors.Is(err, model.ErrNoWorkspace) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if len(first) != 1 || len(second) != 100 || refused != 50 {
			t.Errorf("%d names, then %d; %d refused", len(first), len(second), refused)
		}
		// What is there is known now.
		if err := c.Ask(t.Context(), "is-7"); err != nil {
			t.Error(err)
		}
		c.Forget("is-7")
		for _, name := range []string{"is-7", "not-7"} {
			go ask(name)
			if again := <-s.queries; len(again) != 1 || again[0] != name {
				t.Errorf("%q", again)
			}
			s.answer <- nil
			<-errs
		}
	})
}

func TestACatalogueThatDoesNotAnswerIsNotWaitedForLongNorByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := startSlowCatalogue(t)
		began := time.Now()
		errs := make(chan error, 2)
		go func() { errs <- c.Ask(t.Context(), "not-a") }()
		<-s.queries
		go func() { errs <- c.Ask(t.Context(), "not-b") }()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("nobody knows, but: %v", err)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		if err := c.Ask(t.Context(), "not-c"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(time.Second)
		go func() { errs <- c.Ask(t.Context(), "not-d") }()
		<-s.queries
		s.answer <- nil
		if err := <-errs; !errors.Is(err, model.ErrNoWorkspace) {
			t.Errorf("it answers again: %v", err)
		}
	})
}

// A catalogue that does not answer in its own time does not outlast the acquire's.
func TestTheAcquireTimeoutBoundsTheWaitForTheCatalogue(t *testing.T) {
	m := open(t, config(20))
	answers := make(chan struct{})
	pools.ReplaceCatalogue(m.Manager, func(context.Context, []string) ([]string, error) {
		<-answers // not before the acquire has ended
		return nil, nil
	})
	defer close(answers)
	pools.SetAcquireTimeout(m.Manager, 10*time.Millisecond)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := m.Workspace("w0").Ping(ctx); !errors.Is(err, model.ErrAcquireTimeout) {
		t.Error(err)
	}
}

// On a full budget too: the connection was not what was waited for.
func TestAnAcquireThatEndsWhileTheCatalogueIsAskedSaysSo(t *testing.T) {
	m := open(t, config(20))
	asked, answers := make(chan struct{}), make(chan struct{})
	pools.ReplaceCatalogue(m.Manager, func(context.Context, []string) ([]string, error) {
		close(asked)
		<-answers // not before the acquire has ended
		return nil, nil
	})
	defer close(answers)
	ctx, stop := context.WithCancel(t.Context())
	go func() { <-asked; stop() }()
	var dial *model.DialError
	err := m.Workspace("w0").Ping(ctx)
	if !errors.Is(err, context.Canceled) || errors.As(err, &dial) || !strings.Contains(err.Error(), `"w0"`) ||
		!strings.Contains(err.Error(), "while the server was asked whether there is its database") {
		t.Error(err)
	}
}

func TestTheCatalogueRemembersABoundedNumberOfNames(t *testing.T) {
	var names pools.RecentNames
	for i := range 100_000 {
		names.Add(fmt.Sprint(i))
		if !names.Has("0") {
			t.Fatalf("one that is asked for all the time is forgotten at %d", i)
		}
	}
	if n := names.Len(); n < 2048 || n > 4096 {
		t.Errorf("%d names", n)
	}
	if names.Has("1") || !names.Has("99999") {
		t.Error("it is not the last ones that are remembered")
	}
}
