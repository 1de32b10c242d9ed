package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestTheProcessLivesWhateverThePoolDoes(t *testing.T) {
	s := startShell(t)
	pool := s.pool.(*fakePool)
	pool.stats = func(context.Context) (model.Stats, error) { return model.Stats{}, model.ErrClosed }
	if w := s.do("GET", "/healthz", ""); w.Code != 200 || w.Body.String() != `{"status":"ok"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestReadinessSaysWhichPartFails(t *testing.T) {
	for _, test := range []struct {
		spoil  func(*shellTest, *fakePool)
		status int
		body   string
	}{
		{func(*shellTest, *fakePool) {}, 200, `{"status":"ok"}`},
		{func(_ *shellTest, p *fakePool) {
			p.ping = func(context.Context) error { return errors.New("dial tcp db.internal:5432: secret") }
		}, 503, `{"status":"not ready","failed":["database server: it does not answer"]}`},
		{func(_ *shellTest, p *fakePool) {
			p.stats = func(context.Context) (model.Stats, error) { return model.Stats{}, errors.New("secret") }
		}, 503, `{"status":"not ready","failed":["supervisor: it does not answer"]}`},
		{func(_ *shellTest, p *fakePool) { p.state.Workspaces.Draining = true }, 503, `{"status":"not ready","failed":["pool: it is draining"]}`},
		{func(_ *shellTest, p *fakePool) {
			p.state.Workspaces.Draining = true
			p.ping = func(context.Context) error { return model.ErrClosed }
		}, 503, `{"status":"not ready","failed":["pool: it is draining"]}`},
		{func(_ *shellTest, p *fakePool) {
			p.stats = func(context.Context) (model.Stats, error) { return model.Stats{}, model.ErrClosed }
			p.ping = func(context.Context) error { return model.ErrClosed }
		}, 503, `{"status":"not ready","failed":["pool: it is drained and closed"]}`},
		{func(s *shellTest, _ *fakePool) { s.Close() }, 503, `{"status":"not ready","failed":["process: shutting down"]}`},
	} {
		s := startShell(t)
		test.spoil(s, s.pool.(*fakePool))
		if w := s.do("GET", "/readyz", ""); w.Code != test.status || strings.TrimSpace(w.Body.String()) != test.body {
			t.Errorf("%d %s, want %s", w.Code, w.Body, test.body)
		}
	}
}

// What it says has no name in it: anybody may read it.
func TestReadinessSaysWhatTheDatabaseServerSaid(t *testing.T) {
	dial := func(code string) error {
		return &model.DialError{WorkspaceID: "secret", Kind: model.Permanent, Err: refusal{code}}
	}
	limit := func(effective, lingering int) error {
		return &model.ConnectionLimitError{MaxConnections: 5, EffectiveBudget: effective, Lingering: lingering, Cause: context.DeadlineExceeded}
	}
	const full = "it refuses connections: too many clients"
	for _, test := range []struct {
		err    error
		system model.BudgetStats
		says   string
	}{
		{dial("53300"), model.BudgetStats{}, full},
		{dial("57P03"), model.BudgetStats{}, "it refuses connections: it is starting or shutting down"},
		{dial("28P01"), model.BudgetStats{}, "it refuses the login"},
		{dial("58030"), model.BudgetStats{}, "it refuses connections: SQLSTATE 58030"},
		{limit(0, 0), model.BudgetStats{}, full},
		{limit(5, 0), model.BudgetStats{}, "it does not answer"}, // it is we who have no connection free
		{limit(4, 5), model.BudgetStats{}, "it does not answer"}, // not even that they are closed
		{errors.New("it has not answered yet"), model.BudgetStats{Budget: 5, EffectiveBudget: 4}, full},
		{context.DeadlineExceeded, model.BudgetStats{Budget: 5, EffectiveBudget: 4}, "it does not answer"}, // any more
		{errors.New("refused"), model.BudgetStats{Budget: 5, EffectiveBudget: 4, ServerDown: errors.New("refused")}, "it does not answer"},
		{context.DeadlineExceeded, model.BudgetStats{Budget: 5, EffectiveBudget: 5, ServerDown: refusal{"57P03"}}, "it refuses connections: it is starting or shutting down"},
	} {
		s := startShell(t)
		pool := s.pool.(*fakePool)
		pool.state.System = test.system
		pool.ping = func(context.Context) error { return test.err }
		want := `{"status":"not ready","failed":["database server: ` + test.says + `"]}`
		if w := s.do("GET", "/readyz", ""); w.Code != 503 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%v: %d %s, want %s", test.err, w.Code, w.Body, want)
		}
	}
}

func TestTheHealthOfAProcessThatEndsSaysWhatItWaitsFor(t *testing.T) {
	s := startShell(t)
	pool := s.pool.(*fakePool)
	s.draining.Store(true)
	s.leaving.Store(true)
	want := `{"status":"draining","failed":["process: shutting down","pool: it is draining: connections are lent (10), being opened (0) or closed (0)"]}`
	if w := s.do("GET", "/healthz", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	pool.stats = func(context.Context) (model.Stats, error) { return model.Stats{}, model.ErrClosed }
	s.snapshots.forget()
	if w := s.do("GET", "/healthz", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "pool: it is drained and closed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBeforeItShutsDownTheProcessIsNotReadyAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		s.options.ShutdownDelay = time.Minute
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Serve(ctx, &pipes{make(chan net.Conn), make(chan struct{})}) }()
		synctest.Wait()
		began := time.Now()
		stop()
		synctest.Wait()
		for path, want := range map[string]string{
			"/healthz": `200 {"status":"draining","failed":["process: shutting down"]}`,
			"/readyz":  `503 {"status":"not ready","failed":["process: shutting down"]}`,
		} {
			if w := s.do("GET", path, ""); fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String())) != want {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		if w := s.do("GET", "/metrics", "", "Authorization", "Bearer scrape-scrape-scrape"); !strings.Contains(w.Body.String(), "\ntenantpool_draining 1\n") {
			t.Errorf("the metrics do not say that it drains: %s", w.Body)
		}
		if err := <-ended; err != nil || time.Since(began) != time.Minute {
			t.Errorf("it ends after %v: %v", time.Since(began), err)
		}
	})
}

// A frozen server fails no dial, so this is where its outage's end is told.
func TestTheLogSaysWhenItIsReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		var frozen error
		s.pool.(*fakePool).ping = func(context.Context) error { return frozen }
		said := func(message string) int { return strings.Count(s.log.String(), `"message":"`+message+`"`) }
		ask := func(times int, answers ...error) {
			for i := range times {
				frozen = answers[i%len(answers)]
				s.do("GET", "/readyz", "")
				time.Sleep(2 * time.Second)
			}
		}
		silent := errors.New("timeout")
		ask(2, nil)
		ask(75, silent) // for 150 s
		if said("Not ready") != 3 || said("Ready again") != 0 || !strings.Contains(s.log.String(), `"suppressed":29`) {
			t.Errorf("while it is not ready:\n%s", s.log)
		}
		ask(2, nil)
		if said("Ready again") != 1 || !strings.Contains(s.log.String(), `"took":"2m30s"`) {
			t.Errorf("after it:\n%s", s.log)
		}
		ask(60, nil, silent) // two minutes of coming and going
		if n, ready := said("Not ready")-3, said("Ready again")-1; n < 2 || n > 3 || ready != n {
			t.Errorf("while it comes and goes it says %d times that it is not ready, and %d times that it is:\n%s", n, ready, s.log)
		}
	})
}

// /healthz is asked by whoever kills what does not answer.
func TestTheHealthOfADrainDoesNotWaitForAPoolThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		s.draining.Store(true)
		s.pool.(*fakePool).stats = func(ctx context.Context) (model.Stats, error) {
			<-ctx.Done()
			return model.Stats{}, ctx.Err()
		}
		began := time.Now()
		want := `{"status":"draining","failed":["supervisor: it does not answer"]}`
		w := s.do("GET", "/healthz", "")
		if took := time.Since(began); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want || took != time.Second {
			t.Errorf("%d %s after %v", w.Code, w.Body, took)
		}
		time.Sleep(snapshotTimeout) // of the bubble's time: until nobody asks any more
	})
}

func TestTheHealthOfADrainIsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		s.draining.Store(true)
		var asked atomic.Int32
		s.pool.(*fakePool).stats = func(context.Context) (model.Stats, error) {
			asked.Add(1)
			return exampleStats(), nil
		}
		for range 100 {
			s.do("GET", "/healthz", "")
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the supervisor was asked %d times for 100 who asked at once", n)
		}
	})
}

func TestAServerThatHangsIsNotReadyAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		s.pool.(*fakePool).ping = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		w := s.do("GET", "/readyz", "")
		if took := time.Since(began); w.Code != 503 || took != time.Second {
			t.Errorf("%d after %v", w.Code, took)
		}
	})
}

// Anybody may ask, so asking must not cost a connection each time.
func TestManyWhoAskShareOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShell(t)
		var pings atomic.Int32
		s.pool.(*fakePool).ping = func(context.Context) error {
			pings.Add(1)
			time.Sleep(50 * time.Millisecond)
			return nil
		}
		ask := func() {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if w := s.do("GET", "/readyz", ""); w.Code != 200 {
						t.Errorf("%d", w.Code)
					}
				})
			}
			all.Wait()
		}
		ask()
		ask()
		if n := pings.Load(); n != 1 {
			t.Errorf("%d pings for 200 who asked at once", n)
		}
		time.Sleep(readyReuse)
		ask()
		if n := pings.Load(); n != 2 {
			t.Errorf("%d pings, also for those who asked later", n)
		}
	})
}
