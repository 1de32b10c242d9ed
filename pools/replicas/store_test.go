package replicas_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// server starts one for the test, with the tables.
func server(t *testing.T) *localpg.Server {
	t.Helper()
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: 60, InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	if _, err := connect(t, pg, "").Exec(t.Context(), replicas.Schema); err != nil {
		t.Fatal(err)
	}
	return pg
}

func connect(t *testing.T, pg *localpg.Server, name string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", pg.Host, pg.Port, pg.User, pg.Password, pg.Database))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// store is one with a control session.
func store(t *testing.T, pg *localpg.Server) *replicas.Store {
	t.Helper()
	return &replicas.Store{Conn: connect(t, pg, "control"), Group: "shop", MaxDialing: 2, Settle: 4 * time.Second}
}

func view(t *testing.T, s *replicas.Store) (replicas.View, replicas.Version) {
	t.Helper()
	v, version, _, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v, version
}

func TestAReplicaIsPresentWhileItsControlSessionIs(t *testing.T) {
	pg := server(t)
	s := store(t, pg)
	if _, err := s.Found(t.Context(), 20, 1); err != nil {
		t.Fatal(err)
	}
	other, first := store(t, pg), int64(0)
	for i, each := range []*replicas.Store{s, other} {
		_, version := view(t, each)
		seq, promised, err := each.Register(t.Context(), version, fmt.Sprint(i), "web", fmt.Sprint("app/", i))
		if err != nil || promised != 0 {
			t.Fatalf("registered with %d: %v", promised, err)
		}
		first = seq
	}
	v, version := view(t, s)
	if err := s.Decide(t.Context(), version, replicas.Step(time.Unix(1, 0), v)); err != nil { // each has its floor
		t.Fatal(err)
	}
	data := connect(t, pg, "app/1")
	v, _ = view(t, s)
	if len(v.Replicas) != 2 || !v.Replicas[0].Present || !v.Replicas[1].Present || v.Replicas[1].Visible != 1 || v.Strangers != 1 { // the first test's own
		t.Errorf("%+v", v)
	}
	_ = other.Conn.Close(t.Context())
	for {
		if v, version = view(t, s); !v.Replicas[1].Present {
			break
		}
	}
	if v.Replicas[1].Visible != 1 {
		t.Errorf("%+v", v)
	}
	if err := s.Decide(t.Context(), version, replicas.Step(time.Unix(1, 0), v)); err != nil {
		t.Fatal(err)
	}
	// It comes back under the same id, and takes over what it is promised.
	again := store(t, pg)
	_, version = view(t, again)
	if seq, promised, err := again.Register(t.Context(), version, "1", "web", "app/1"); err != nil || seq != first+2 || promised != 1 {
		t.Errorf("registered as %d with %d: %v", seq, promised, err)
	}
	if v, _ := view(t, s); !v.Replicas[1].Present || !v.Replicas[1].GoneAt.IsZero() {
		t.Errorf("%+v", v)
	}
	_ = data.Close(t.Context())
}

func TestADecisionOfAnOldViewIsNotWritten(t *testing.T) {
	pg := server(t)
	s := store(t, pg)
	_, err := s.Found(t.Context(), 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, version := view(t, s)
	first, _, err := s.Register(t.Context(), version, "a", "web", "app/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store(t, pg).Register(t.Context(), version, "b", "web", "app/b"); !errors.Is(err, replicas.ErrOutdated) {
		t.Errorf("a registration of the old version: %v", err)
	}
	if err := s.Say(t.Context(), "a", replicas.Use{Wants: 5}, false); err != nil {
		t.Fatal(err)
	}
	v, version := view(t, s)
	decision := replicas.Step(time.Unix(1, 0), v)
	if err := s.Decide(t.Context(), version, decision); err != nil {
		t.Fatal(err)
	}
	if err := s.Decide(t.Context(), version, decision); !errors.Is(err, replicas.ErrOutdated) {
		t.Errorf("the same decision again: %v", err)
	}
	v, _ = view(t, s)
	if r := v.Replicas[0]; r.Granted != 5 || r.Promised != 5 || r.Seq != first+1 {
		t.Errorf("%+v", r)
	}
	// A report with the seq before the raise says nothing.
	v, version = view(t, s)
	v.Replicas[0].Granted = 3
	if err := s.Decide(t.Context(), version, v.Replicas); err != nil {
		t.Fatal(err)
	}
	for since, want := range []int{5, 3} {
		if err := s.Report(t.Context(), "a", first+int64(since), 3); err != nil {
			t.Fatal(err)
		}
		if v, _ := view(t, s); v.Replicas[0].Promised != want {
			t.Errorf("after a report of seq %d: %+v", since, v.Replicas[0])
		}
	}
	if err := s.Leave(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if v, _ := view(t, s); len(v.Replicas) != 0 {
		t.Errorf("%+v", v)
	}
}

// F11: many decide at once, and reports come in between; never is more promised than the
// budget has.
func TestManyWhoDecideAtOncePromiseNoMoreThanTheBudget(t *testing.T) {
	const n, budget = 8, 40
	pg := server(t)
	watch := store(t, pg)
	if _, err := watch.Found(t.Context(), budget, 1); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ending := make(chan struct{})
	for i := range n {
		s, id := store(t, pg), fmt.Sprint(i)
		all.Go(func() {
			for {
				v, version, _, err := s.View(t.Context())
				if err == nil && v.Admits() {
					_, _, err = s.Register(t.Context(), version, id, "web", "app/"+id)
				}
				if err == nil {
					break
				}
				if !errors.Is(err, replicas.ErrOutdated) {
					t.Error(err)
					return
				}
			}
			for round := i; ; round++ {
				select {
				case <-ending:
					return
				default:
				}
				if err := s.Say(t.Context(), id, replicas.Use{Wants: round * 7 % 20}, false); err != nil {
					t.Error(err)
					return
				}
				v, version, now, err := s.View(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Decide(t.Context(), version, replicas.Step(now, v)); err != nil && !errors.Is(err, replicas.ErrOutdated) {
					t.Error(err)
					return
				}
				for _, r := range v.Replicas {
					if r.ID == id && r.Granted < r.Promised {
						if err := s.Report(t.Context(), id, r.Seq, r.Granted); err != nil {
							t.Error(err)
							return
						}
					}
				}
			}
		})
	}
	most, moved := 0, replicas.Version(0)
	for range 300 {
		v, version := view(t, watch)
		sum := 0
		for _, r := range v.Replicas {
			sum += 1 + r.Promised
		}
		most, moved = max(most, sum), version
		if sum > budget {
			t.Fatalf("%d are promised: %+v", sum, v)
		}
	}
	close(ending)
	all.Wait()
	t.Logf("at most %d of %d promised, %d decisions", most, budget, moved)
	if moved < 50 || most < budget/2 {
		t.Error("too little happened to show anything")
	}
}

// Credentials that rotate may have several roles, and each sees little of another's sessions.
func TestAReplicaOfAnotherRoleIsSeen(t *testing.T) {
	pg := server(t)
	s := store(t, pg)
	if _, err := s.Found(t.Context(), 20, 1); err != nil {
		t.Fatal(err)
	}
	super, err := pgx.Connect(t.Context(), pg.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.Background())
	if _, err := super.Exec(t.Context(), fmt.Sprintf(`CREATE ROLE rotated LOGIN PASSWORD 'next'; GRANT CONNECT ON DATABASE %s TO rotated`,
		pgx.Identifier{pg.Database}.Sanitize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Conn.Exec(t.Context(), `GRANT ALL ON tenantpool_groups, tenantpool_replicas TO rotated`); err != nil {
		t.Fatal(err)
	}
	as := *pg
	as.User, as.Password = "rotated", "next"
	other := store(t, &as)
	for i, each := range []*replicas.Store{s, other} {
		_, version := view(t, each)
		if _, _, err := each.Register(t.Context(), version, fmt.Sprint(i), "web", fmt.Sprint("app/", i)); err != nil {
			t.Fatal(err)
		}
	}
	connect(t, &as, "app/1")
	for i, each := range []*replicas.Store{s, other} {
		v, _ := view(t, each)
		if len(v.Replicas) != 2 || !v.Replicas[0].Present || !v.Replicas[1].Present || v.Replicas[1].Visible != 1 {
			t.Errorf("as %d: %+v", i, v)
		}
	}
}
