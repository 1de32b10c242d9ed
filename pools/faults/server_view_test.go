package faults

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools/serverview"
)

// serverView counts our backends, by the server's own word, across its restarts.
type serverView struct {
	peak      atomic.Int64
	end, gone chan struct{}
}

func watchServer() *serverView {
	v := &serverView{end: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(v.gone)
		for !within(v.end, 0) {
			v.watch()
		}
	}()
	return v
}

// watch is one connection's life.
func (v *serverView) watch() {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	w, err := serverview.Start(ctx, server.SuperuserDSN(), server.User, 5*time.Millisecond)
	if err != nil {
		within(v.end, 20*time.Millisecond)
		return
	}
	defer w.Stop()
	for !within(v.end, 20*time.Millisecond) && w.Err() == nil {
		v.peak.Store(max(v.peak.Load(), int64(w.Peak())))
	}
	v.peak.Store(max(v.peak.Load(), int64(w.Peak())))
}

func (v *serverView) stop() (peak int) {
	close(v.end)
	<-v.gone
	return int(v.peak.Load())
}

// backends is how many the server has of ours at this moment.
func backends(t *testing.T) (n int) {
	t.Helper()
	err := control.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, server.User).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// within waits until the channel is closed, at most for d.
func within(closed <-chan struct{}, d time.Duration) bool {
	select {
	case <-closed:
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}

// eventually waits for a condition, with a deadline.
func eventually(atMost time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(atMost); !condition(); {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
	return true
}
