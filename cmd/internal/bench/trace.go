package bench

import "sync/atomic"

// Event is one acquire or release of a run. A trace holds them in the order in
// which they happened. Request numbers an acquire and its release.
type Event struct {
	Request   int
	Workspace int
	Release   bool
}

// Recorder takes down the trace of a run. Each worker writes to a list of its
// own; all that they share is the counter that orders their events.
type Recorder struct {
	last    atomic.Int64 // the number of the last event; the first is 1
	workers []*WorkerTrace
}

// WorkerTrace is one worker's part of a trace. It is for one goroutine.
type WorkerTrace struct {
	recorder *Recorder
	events   []numberedEvent
	_        [64]byte // neighbours must not share a cache line
}

type numberedEvent struct {
	number int
	Event
}

// NewRecorder makes a recorder for so many workers.
func NewRecorder(workers int) *Recorder {
	r := &Recorder{workers: make([]*WorkerTrace, workers)}
	for i := range r.workers {
		r.workers[i] = &WorkerTrace{recorder: r}
	}
	return r
}

// Worker is the part of the i-th worker, counted from 0.
func (r *Recorder) Worker(i int) *WorkerTrace { return r.workers[i] }

// Acquired notes that the worker has got a connection to the workspace, and
// returns the number to release it by. Call it after the acquire and Released
// before the release: then the trace never shows a connection in use that was
// not, and never more of them than the pool had.
func (w *WorkerTrace) Acquired(workspace int) (request int) {
	number := int(w.recorder.last.Add(1))
	// An acquire's place in the trace is as good a number as any.
	w.events = append(w.events, numberedEvent{number, Event{Request: number, Workspace: workspace}})
	return number
}

// Released notes that the worker is about to give the connection back.
func (w *WorkerTrace) Released(request, workspace int) {
	number := int(w.recorder.last.Add(1))
	w.events = append(w.events, numberedEvent{number, Event{Request: request, Workspace: workspace, Release: true}})
}

// Events is the trace of all workers. Call it when they have ended.
func (r *Recorder) Events() []Event {
	// The numbers have no gap: each event's number is its place.
	events := make([]Event, r.last.Load())
	for _, worker := range r.workers {
		for _, event := range worker.events {
			events[event.number-1] = event.Event
		}
	}
	return events
}

// Len is how many events there are so far.
func (r *Recorder) Len() int { return int(r.last.Load()) }
