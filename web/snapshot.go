package web

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// snapshotReuse is for how long a snapshot serves all who ask.
	snapshotReuse = 10 * time.Millisecond
	// snapshotShare: a snapshot that was dear to make (thousands of workspaces)
	// serves for longer, so that making them takes a twentieth of one core at
	// most; but for no longer than snapshotReuseMax.
	snapshotShare    = 20
	snapshotReuseMax = time.Second
	// snapshotTimeout is how long the pool may take.
	snapshotTimeout = 2 * time.Second
)

// snapshot is the pool's statistics at one moment, and the answer made of them.
// One goroutine makes it (fill), then it is never changed; done says when.
type snapshot struct {
	done  chan struct{}
	stats model.Stats
	err   error
	at    time.Time
	body  []byte // the connectionStats as JSON
	until time.Time
}

// snapshots lets all who ask at about the same time share one snapshot: however
// many they are, the supervisor is asked a hundred times a second at most.
//
// How old an answer may be: the pool was asked for it at most snapshotReuse
// (with very many workspaces: snapshotReuseMax) before the request came, or had
// not answered yet when it came. After a change made through this server no
// snapshot from before is used.
//
// There is no lock. Each snapshot is made by a goroutine of its own, which ends
// with it; who asks when there is none to share puts a new one into current, and
// only one of them succeeds.
type snapshots struct {
	pool    Pool
	current atomic.Pointer[snapshot]
	limits  atomic.Pointer[limitsAnswer] // the last known
}

func newSnapshots(pool Pool) *snapshots { return &snapshots{pool: pool} }

// get returns a snapshot, whose err says if the pool did not answer. Its own
// error is ctx's.
func (s *snapshots) get(ctx context.Context) (*snapshot, error) {
	for {
		shared := s.current.Load()
		if shared == nil || shared.old() {
			fresh := &snapshot{done: make(chan struct{})}
			if !s.current.CompareAndSwap(shared, fresh) {
				continue // somebody else just did
			}
			go s.fill(fresh)
			shared = fresh
		}
		select {
		case <-shared.done:
			return shared, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// forget makes the next get ask the pool: what it says has changed.
func (s *snapshots) forget() { s.current.Store(nil) }

func (t *snapshot) old() bool {
	select {
	case <-t.done:
		return !time.Now().Before(t.until)
	default:
		return false // being made
	}
}

// fill makes the snapshot. It has a context of its own, because those who wait
// for it may each go away.
func (s *snapshots) fill(t *snapshot) {
	defer close(t.done)
	began := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), snapshotTimeout)
	defer stop()
	t.stats, t.err = s.pool.Stats(ctx)
	t.at = time.Now()
	var answer connectionStats
	if t.err == nil {
		s.limits.Store(&limitsAnswer{t.stats.MaxConnections, t.stats.MaxConnectionsPerDB})
		answer = newConnectionStats(t.stats)
	} else {
		answer = missingConnectionStats(s.limits.Load(), t.err)
	}
	answer.At = t.at.UTC().Format(time.RFC3339Nano)
	body, err := json.Marshal(answer)
	if err != nil { // numbers and strings only: a NaN would be needed
		body, _ = json.Marshal(missingConnectionStats(s.limits.Load(), err))
	}
	t.body = body
	reuse := min(max(snapshotReuse, snapshotShare*time.Since(t.at)), snapshotReuseMax)
	t.until = began.Add(reuse)
}
