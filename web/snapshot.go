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

// snapshot is the pool's statistics at one moment, and the answer made of them. It
// is never changed.
type snapshot struct {
	stats model.Stats
	err   error
	at    time.Time
	body  []byte // the connectionStats as JSON: their first page
}

// snapshots shares one snapshot among all who ask at about the same time: however
// many they are, the supervisor is asked a hundred times a second at most.
//
// How old an answer may be: the pool was asked for it at most snapshotReuse
// (with very many workspaces: snapshotReuseMax) before the request came, or had
// not answered yet when it came. After a change made through this server no
// snapshot from before is used.
type snapshots struct {
	shared[*snapshot]
	pool   Pool
	limits atomic.Pointer[limitsAnswer] // the last known
}

func newSnapshots(pool Pool) *snapshots { return &snapshots{pool: pool} }

// get returns a snapshot, whose err says if the pool did not answer. Its own
// error is ctx's.
func (s *snapshots) get(ctx context.Context) (*snapshot, error) { return s.shared.get(ctx, s.take) }

// take makes a snapshot, and says until when it serves.
func (s *snapshots) take() (*snapshot, time.Time) {
	began := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), snapshotTimeout)
	defer stop()
	t := &snapshot{}
	t.stats, t.err = s.pool.Stats(ctx)
	at := time.Now()
	var answer connectionStats
	if t.err == nil {
		s.limits.Store(&limitsAnswer{MaxConnections: t.stats.MaxConnections, MaxConnectionsPerDB: t.stats.MaxConnectionsPerDB})
		answer = newConnectionStats(t.stats, firstPage)
	} else {
		answer = missingConnectionStats(s.limits.Load(), t.err)
	}
	t.at, t.body = at, encodeStats(answer, at)
	reuse := min(max(snapshotReuse, snapshotShare*time.Since(at)), snapshotReuseMax)
	return t, began.Add(reuse)
}

// encodeStats cannot fail: there are numbers and strings only, and no NaN.
func encodeStats(answer connectionStats, at time.Time) []byte {
	answer.At = at.UTC().Format(time.RFC3339Nano)
	body, err := json.Marshal(answer)
	if err != nil {
		body, _ = json.Marshal(missingConnectionStats(nil, err))
	}
	return body
}
