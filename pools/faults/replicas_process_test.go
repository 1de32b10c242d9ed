package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// asReplica in the environment makes the test binary a process of the application: it
// reads its configuration and then its orders from stdin, and says on stdout how it is.
const asReplica = "TENANTPOOL_TEST_REPLICA"

// replicaConfig is the first line.
type replicaConfig struct {
	Config   model.Config
	Password string // Config's is not written out
	// Group is the shared budget's, or empty: the process has Config's to itself.
	Group      string
	Workspaces int
	Zipf       float64
	Work       time.Duration // of each request, on the server
	System     float64       // the part of the requests that is to the system database
}

// order is any further line. The end of the input is the order to drain and leave.
type order struct {
	Handlers int // that send requests, one after the other each
	// Excused: the requests that are under way or begin until the next order may be late
	// and may fail. Their answers may not be wrong.
	Excused bool
}

// said is a line of a process's: what came of its requests so far, and how it stands.
type said struct {
	Order         order // the last one
	Served, Wrong int
	Failed        map[cause]int
	// FirstErrors has one error of each cause.
	FirstErrors map[cause]string
	Excused     int // failed, too
	// LongestWait is the longest acquire, but for excused ones.
	LongestWait time.Duration
	Times       times

	Budget, Open, Waiting int // of the workspaces
	ServerRefusals        uint64
	Left                  bool // the last line
}

// times counts how long requests took, in classes that are a twentieth wider each.
type times map[int]int

const class = 1.05

func (t times) add(d time.Duration) {
	t[int(math.Log(float64(max(d.Microseconds(), 1)))/math.Log(class))]++
}

// merge adds others'.
func (t times) merge(others times) {
	for c, n := range others {
		t[c] += n
	}
}

// at is the time that this part of the requests did not exceed, to a twentieth.
func (t times) at(part float64) time.Duration {
	classes, all := make([]int, 0, len(t)), 0
	for c, n := range t {
		classes, all = append(classes, c), all+n
	}
	sort.Ints(classes)
	seen := 0
	for _, c := range classes {
		if seen += t[c]; float64(seen) >= part*float64(all) {
			return time.Duration(math.Pow(class, float64(c+1))) * time.Microsecond
		}
	}
	return 0
}

// replica is the application's process.
type replica struct {
	config     replicaConfig
	manager    *pools.Manager
	cumulative []float64

	lock    sync.Mutex
	now     said
	excused int // orders so far, that change whether requests are
	excuse  bool
}

// beReplica returns the process's exit status.
func beReplica(in io.Reader, out io.Writer) int {
	orders := json.NewDecoder(in)
	r := &replica{now: said{Failed: map[cause]int{}, FirstErrors: map[cause]string{}, Times: times{}}}
	if err := orders.Decode(&r.config); err != nil {
		return 2
	}
	if err := r.run(orders, json.NewEncoder(out)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (r *replica) run(orders *json.Decoder, out *json.Encoder) error {
	total := 0.0
	for i := range r.config.Workspaces {
		total += math.Pow(float64(i+1), -r.config.Zipf)
		r.cumulative = append(r.cumulative, total)
	}
	cfg := r.config.Config
	cfg.Password = r.config.Password
	options := []pools.Option{pools.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)))}
	if r.config.Group != "" {
		options = append(options, pools.WithSharedBudget(r.config.Group))
	}
	m, err := pools.Open(context.Background(), cfg, options...)
	if err != nil {
		return err
	}
	r.manager = m
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for !within(end, 50*time.Millisecond) {
			_ = out.Encode(r.says())
		}
	}()
	r.obey(orders)
	ctx, stop := context.WithTimeout(context.Background(), mustHappen)
	defer stop()
	last := r.says()
	err = m.Close(ctx)
	close(end)
	<-ended
	last.Left = err == nil
	return errors.Join(err, out.Encode(last))
}

// obey returns when the input has ended, and no request is under way.
func (r *replica) obey(orders *json.Decoder) {
	var all sync.WaitGroup
	stop := make(chan struct{})
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			break
		}
		close(stop)
		r.lock.Lock()
		if o.Excused != r.excuse {
			r.excused, r.excuse = r.excused+1, o.Excused
		}
		r.now.Order = o
		r.lock.Unlock()
		next := make(chan struct{}) // a handler may start after the order that ends it
		for range o.Handlers {
			all.Go(func() { r.handle(next) })
		}
		stop = next
	}
	close(stop)
	all.Wait()
}

func (r *replica) handle(stop <-chan struct{}) {
	for !within(stop, 0) {
		r.lock.Lock()
		excuses := r.excused
		r.lock.Unlock()
		began := time.Now()
		waited, err := r.request()
		r.note(began, waited, excuses, err)
		if err != nil {
			within(stop, 5*time.Millisecond) // a client does not come back in the same moment
		}
	}
}

// request asks whose database it is, and for a number that only this request knows.
func (r *replica) request() (waited time.Duration, err error) {
	ctx, stop := context.WithTimeout(context.Background(), mustHappen)
	defer stop()
	began := time.Now()
	conn, name, err := r.acquire(ctx)
	waited = time.Since(began)
	if err != nil {
		return waited, err
	}
	defer conn.Release()
	question, answer, found := rand.Int64(), int64(0), ""
	err = conn.QueryRow(ctx, `SELECT current_database(), $1::int8, pg_sleep($2)`, question, r.config.Work.Seconds()).Scan(&found, &answer, nil)
	if err == nil && (found != name || answer != question) {
		err = fmt.Errorf("%w: asked %q for %d, %q answered %d", errWrongAnswer, name, question, found, answer)
	}
	return waited, err
}

// acquire lends a connection of a workspace, or to the system database.
func (r *replica) acquire(ctx context.Context) (conn *pools.Conn, name string, err error) {
	if rand.Float64() < r.config.System {
		conn, err = r.manager.System().Acquire(ctx)
		return conn, r.config.Config.SystemDatabase, err
	}
	u := rand.Float64() * r.cumulative[len(r.cumulative)-1]
	i := min(sort.SearchFloat64s(r.cumulative, u), len(r.cumulative)-1)
	conn, err = r.manager.Acquire(ctx, workspace(i))
	return conn, database(i), err
}

func (r *replica) note(began time.Time, waited time.Duration, excuses int, err error) {
	took := time.Since(began)
	r.lock.Lock()
	defer r.lock.Unlock()
	excused := r.excuse || excuses != r.excused
	if !excused {
		r.now.LongestWait = max(r.now.LongestWait, waited)
	}
	if err == nil {
		r.now.Served++
		if !excused {
			r.now.Times.add(took)
		}
		return
	}
	switch why := causeOf(err); {
	case why == wrongAnswer:
		r.now.Wrong++
		r.now.FirstErrors[why] = err.Error()
	case excused:
		r.now.Excused++
	default:
		if r.now.Failed[why]++; r.now.Failed[why] == 1 {
			r.now.FirstErrors[why] = err.Error()
		}
	}
}

// says is a copy, which nobody else changes.
func (r *replica) says() said {
	st, err := r.manager.Stats(context.Background())
	r.lock.Lock()
	defer r.lock.Unlock()
	now := r.now
	if err == nil {
		now.Budget, now.Open, now.Waiting = st.Workspaces.Budget, st.Workspaces.Open(), st.Workspaces.Waiting
		now.ServerRefusals = st.Workspaces.Counters.ServerRefusals + st.System.Counters.ServerRefusals + st.Shared.Refusals
	}
	now.Failed, now.FirstErrors, now.Times = maps.Clone(now.Failed), maps.Clone(now.FirstErrors), maps.Clone(now.Times)
	return now
}
