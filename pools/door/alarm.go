package door

import (
	"runtime"
	"sync/atomic"
	"time"
)

// alarm ends a read that has taken long, at little cost for one that has not: where a
// deadline is two changes of a timer, this is two atomic ones. The desk looks at the alarms
// of all clients every watchAfter.
type alarm struct {
	state atomic.Int32
	reads readDeadline // valid while it is set
}

type readDeadline interface{ SetReadDeadline(time.Time) error }

const (
	alarmOff int32 = iota
	alarmNew       // set since the last look
	alarmOld
	alarmRinging
	alarmRung
)

// set is for a read that begins; off, by the same goroutine, for its end.
func (a *alarm) set(reads readDeadline) {
	a.reads = reads
	a.state.Store(alarmNew)
}

func (a *alarm) off() {
	for {
		switch state := a.state.Load(); state {
		case alarmNew, alarmOld:
			if a.state.CompareAndSwap(state, alarmOff) {
				return
			}
		case alarmRinging: // for the moment of a deadline's change
			runtime.Gosched()
		case alarmRung:
			_ = a.reads.SetReadDeadline(time.Time{})
			a.state.Store(alarmOff)
			return
		default:
			return
		}
	}
}

// look is the desk's: it ends a read that was there at its last look.
func (a *alarm) look() {
	switch {
	case a.state.CompareAndSwap(alarmNew, alarmOld):
	case a.state.CompareAndSwap(alarmOld, alarmRinging):
		_ = a.reads.SetReadDeadline(time.Now())
		a.state.Store(alarmRung)
	}
}
