package web

import (
	"context"
	"sync/atomic"
	"time"
)

// shared lets all who ask at about the same time share one answer.
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
