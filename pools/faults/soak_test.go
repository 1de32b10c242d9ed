package faults

import (
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// The soak is ordinary traffic, and besides all that leaks come from, for a long time.
//
//	TENANTPOOL_TEST_LONG=1 go test ./pools/faults -run Soak                    a minute
//	... -soak 30m -timeout 40m -soak-chart FILE.svg
var (
	soakFor   = flag.Duration("soak", time.Minute, "how long the soak lasts")
	soakChart = flag.String("soak-chart", "", "draw what the soak measured into this SVG file")
)

const (
	// soakConnections leave SetLimits room below them: less than connections is no
	// valid limit.
	soakConnections = connections + 10
	soakSamples     = 100 // at most; in the long form there is one each second
	// mayFail is of how many requests one may: on a machine that does much else at
	// the same time, some take longer than their deadline.
	mayFail = 50
)

// soaked is what the soak came to.
type soaked struct {
	Lasted           time.Duration
	Requests, Failed int
	Causes           map[cause]int
	WrongAnswers     int
	LongestStall     time.Duration
	// Terminated is how many sessions were, each of which may fail one request.
	Terminated int
	// Early and Late are the medians of the second and of the last quarter.
	Early, Late  sample
	Peak, Budget int
	SlotsLost    int
}

// soakResult is for the report; nil before the soak.
var soakResult *soaked

func (s soaked) String() string {
	return fmt.Sprintf("%v: %d requests, %d failed (%s; %d sessions were terminated), longest %v, %d wrong answers, at most %d of %d backends, %d slots lost; "+
		"from the second quarter to the last: heap %.2f to %.2f MB, goroutines %.0f to %.0f, descriptors %.0f to %.0f, server %.0f to %.0f MB, requests/s %.0f to %.0f",
		s.Lasted.Round(time.Second), s.Requests, s.Failed, listCauses(s.Causes), s.Terminated, s.LongestStall.Round(time.Millisecond), s.WrongAnswers,
		s.Peak, s.Budget, s.SlotsLost,
		s.Early.HeapMB, s.Late.HeapMB, s.Early.Goroutines, s.Late.Goroutines, s.Early.Descriptors, s.Late.Descriptors,
		s.Early.ServerMB, s.Late.ServerMB, s.Early.Rate, s.Late.Rate)
}

func TestSoak(t *testing.T) {
	if !long {
		t.Skip("only with TENANTPOOL_TEST_LONG=1")
	}
	if end, ok := t.Deadline(); ok && time.Until(end) < *soakFor+2*time.Minute {
		t.Fatalf("-soak %v is longer than the test may take: give it -timeout %v", *soakFor, *soakFor+10*time.Minute)
	}
	result, samples := soak(t, *soakFor)
	soakResult = &result
	t.Log(result)
	if *soakChart != "" {
		must(t, drawSoak(*soakChart, result, samples))
	}
	for _, s := range watched {
		if complaint := s.judge(result.Early, result.Late); complaint != "" {
			t.Error(complaint)
		}
	}
	if result.Peak > result.Budget {
		t.Errorf("the server had %d backends, the budget is %d", result.Peak, result.Budget)
	}
	if result.WrongAnswers > 0 {
		t.Errorf("%d wrong answers", result.WrongAnswers)
	}
	if result.SlotsLost > 0 {
		t.Errorf("%d slots are lost", result.SlotsLost)
	}
}

func soak(t *testing.T, lasts time.Duration) (soaked, []sample) {
	setMaxConnections(soakConnections)(t)
	defer setMaxConnections(connections)(t)
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	secrets := &secretSeeker{}
	m := openSoak(t, secrets)
	for i := range workspaces { // each *sql.DB keeps one goroutine from here on
		defer m.Workspace(workspace(i)).DB().Close()
	}
	view := watchServer()
	tr := startTraffic(m, churning)
	ch := startChurn(t, m, tr)
	if !eventually(mustHappen, func() bool { return tr.succeeded.Load() > 10*workers }) {
		t.Fatalf("there is no traffic: %+v", tr.counted)
	}

	samples := takeSamples(t, tr, lasts)
	ch.stop()
	counted := tr.stop(t)
	_, err := m.SetLimits(t.Context(), soakConnections, config().MaxConnectionsPerDB)
	must(t, err)
	result := soaked{
		Lasted: lasts, Requests: counted.requests, Failed: counted.failed, Causes: counted.causes, WrongAnswers: counted.wrong,
		LongestStall: counted.longest, Terminated: ch.terminated, Early: medians(quarter(samples, 1)), Late: medians(quarter(samples, 3)),
		Budget: soakConnections, SlotsLost: lostSlots(t, m),
	}
	result.Peak = view.stop()

	for _, err := range counted.bad[:min(3, len(counted.bad))] {
		t.Errorf("an error that nothing excuses: %v", err)
	}
	if counted.overrun > mayOverrun+slack() {
		t.Errorf("a request took %v longer than its deadline", counted.overrun)
	}
	lost := counted.causes["57P01"] + counted.causes[broken]
	if lost > ch.terminated {
		t.Errorf("%d requests lost their session, although only %d were terminated: %v", lost, ch.terminated, counted.causes)
	}
	if others := counted.failed - lost; others > counted.requests/mayFail {
		t.Errorf("%d of %d requests failed although nothing had happened to their session: %v", others, counted.requests, counted.causes)
	}
	fault{}.leaveNothing(t, m, goroutines+workspaces, heap)
	if secrets.found {
		t.Error("the log holds the password")
	}
	return result, samples
}

func openSoak(t *testing.T, log *secretSeeker) *pools.Manager {
	t.Helper()
	cfg := config()
	cfg.MaxConnections = soakConnections
	// All connections are replaced, and tested, all the time.
	cfg.ConnectionMaxLifetime, cfg.ConnectionMaxIdleTime = 3*time.Second, time.Second
	cfg.HealthCheckAfter = 100 * time.Millisecond
	logger := slog.New(slog.NewJSONHandler(log, nil))
	naming := func(id model.WorkspaceID) (string, error) {
		known, _, _ := strings.Cut(string(id), "-") // see guest
		return cfg.Prefix + "_ws_" + known, nil
	}
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger(logger), pools.WithNaming(naming))
	must(t, err)
	return m
}

// lostSlots is how many connections of the budget cannot be lent at once.
func lostSlots(t *testing.T, m *pools.Manager) (lost int) {
	cfg := config()
	cfg.MaxConnections = soakConnections
	var leases []*pools.Conn
	hold := func(conn *pools.Conn, err error) {
		if err != nil {
			t.Errorf("the budget cannot be lent at once: %v", err)
			lost++
			return
		}
		leases = append(leases, conn)
	}
	for n := range cfg.WorkspaceBudget() {
		hold(checked(t.Context(), m, n/2))
	}
	for range cfg.SystemLimits().PerWorkspace {
		hold(m.System().Acquire(t.Context()))
	}
	for _, conn := range leases {
		conn.Release()
	}
	return lost
}

// secretSeeker is a log that keeps nothing. The logger has a lock.
type secretSeeker struct{ found bool }

func (s *secretSeeker) Write(line []byte) (int, error) {
	s.found = s.found || strings.Contains(string(line), server.Password)
	return len(line), nil
}
