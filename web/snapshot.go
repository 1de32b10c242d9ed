package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
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

// lookReuse is for how long one look serves all who ask: many dashboards cost the pool no
// more than one.
const lookReuse = time.Second

// look is what the pool said once. It is never changed.
type look[T any] struct {
	found T
	err   error
	at    time.Time
}

// lookNow asks the pool, and says until when the look serves. An error that is no answer for
// good is a 503 that begins with these words.
func lookNow[T any](ask func(context.Context) (T, error), otherwise string) (*look[T], time.Time) {
	began := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), snapshotTimeout)
	defer stop()
	found, err := ask(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, model.ErrClosed) {
		err = &failure{
			status: http.StatusServiceUnavailable, retryAfter: retrySoon, detail: otherwise + ": " + err.Error(),
			message: otherwise + ": try again", cause: err,
		}
	}
	return &look[T]{found, err, time.Now()}, began.Add(lookReuse)
}

// shared lets all who ask at about the same time share one answer.
//
// It is no singleflight.Group with a time beside it: that forgets who is under way when
// it is told to, and the answer would still come back as the last one, though it is from
// before the change that forget is for.
//
// There is no lock. Each answer is made by a goroutine of its own, which ends with
// it; who asks when there is none to share puts a new one into current, and only
// one of them succeeds.
type shared[T any] struct {
	current atomic.Pointer[sharedAnswer[T]]
}

// sharedAnswer is never changed after done is closed.
type sharedAnswer[T any] struct {
	done  chan struct{}
	value T
	until time.Time // it serves who asks before then
}

// get returns an answer that was made, by the function of one of those who asked,
// or is being made. The error is ctx's: the answer is made all the same, because
// those who wait for it may each go away.
func (s *shared[T]) get(ctx context.Context, answer func() (value T, until time.Time)) (T, error) {
	for {
		a := s.current.Load()
		if a == nil || a.old() {
			fresh := &sharedAnswer[T]{done: make(chan struct{})}
			if !s.current.CompareAndSwap(a, fresh) {
				continue // somebody else just did
			}
			go func() {
				defer close(fresh.done)
				fresh.value, fresh.until = answer()
			}()
			a = fresh
		}
		select {
		case <-a.done:
			return a.value, nil
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// forget makes the next who asks get a new answer.
func (s *shared[T]) forget() { s.current.Store(nil) }

func (a *sharedAnswer[T]) old() bool {
	select {
	case <-a.done:
		return !time.Now().Before(a.until)
	default:
		return false // being made
	}
}
