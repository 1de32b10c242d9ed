package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// busy is a State with something of everything:
//
//	a  leases 1 and 2 (its cap), waiters 7 and 8
//	b  connections 3 and 4 idle
//	c  connection 5 closing; paused, not done yet
//	d  connection 6 being dialed for waiter 6, waiter 10
//	e  waiter 9; no more dials may start
//	f  waiter 11, until its next retry
//	g  nothing: retired
func busy(t *testing.T) script {
	l := limits(6, 2)
	l.MaxDialing = 1
	l.BackoffMin, l.BackoffMax = time.Hour, time.Hour
	s := start(t, l)
	s.Step(0, Pause{1, "g"})
	s.Step(0, Resume{"g"})
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "b")
	s.lent(4, "b")
	s.lent(5, "c")
	s.at(1*ms, release(3, 3))
	s.at(2*ms, release(4, 4))
	s.Step(2*ms, acquire(11, "f"))
	s.Step(2*ms, failed(6, model.Transient))
	s.at(3*ms, unclean(5, 5), "close 5 c not_reusable")
	s.at(3*ms, Pause{2, "c"})
	s.at(3*ms, acquire(6, "d"), "dial 7 d")
	s.at(3*ms, acquire(7, "a"))
	s.at(3*ms, acquire(8, "a"))
	s.Step(3*ms, acquire(9, "e"))
	s.at(3*ms, acquire(10, "d"))
	return s
}

func TestCheckSeesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		want  string
		spoil func(s *State)
	}{
		{"I5: connection 99 is filed under 1", func(s *State) { s.conns[1].ID = 99 }},
		{`belongs to a forgotten entry of workspace "a"`, func(s *State) { delete(s.workspaces, "a") }},
		{"I5: lease 1 has two connections", func(s *State) { s.conns[2].Lease = 1 }},
		{"I5: connection 1 is in the wrong list", func(s *State) { s.onTheWay.pushBack(&s.conns[1].listed) }},
		{"I5: connection 3 is in the wrong list", func(s *State) { s.onTheWay.pushBack(&s.conns[3].listed) }},
		{"I5: connection 7 is in the wrong list", func(s *State) { s.onTheWay.pushBack(&s.conns[7].listed) }},
		{"I1: counted [1 2 2 1], kept [1 3 2 1]", func(s *State) { s.counts[idle]++ }},
		{`I2: workspace "c": counted [0 0 0 1], kept [0 0 0 2]`, func(s *State) { s.workspaces["c"].counts[closing]++ }},
		{"and the last one is 0", func(s *State) { s.lastConn = 0 }},
		{"I8: waiter of lease", func(s *State) { s.queue.tail.item.Arrived = s.now + 1 }},
		{"I8: waiter of lease", func(s *State) { s.queue.tail.item.Arrived = -1 }},
		{"I1: effective budget 7 above the budget 6", func(s *State) { s.effective = 7 }},

		{"I6: 2 idle, 1 in the LRU heap, 2 in the heap of ends", func(s *State) { s.lru.remove(s.conns[3]) }},
		{"I6: 2 idle, 2 in the LRU heap, 1 in the heap of ends", func(s *State) { s.ends.remove(s.conns[3]) }},
		{"I6: connection 4: idle true, but stacked false", func(s *State) { s.workspaces["b"].idle = s.workspaces["b"].idle[:1] }},
		{"I6: connection 1: idle false, but stacked true", func(s *State) { s.workspaces["a"].idle = []*conn{s.conns[1]} }},
		{"stacked true, in LRU heap false, in heap of ends true", func(s *State) { s.conns[3].inLRU = 0 }},
		{"stacked true, in LRU heap true, in heap of ends false", func(s *State) { s.conns[3].inEnds = 0 }},
		{"I6: connection 4 comes before the head of a heap", func(s *State) { s.conns[4].LastUsed = 0 }},
		{"I6: connection 4 comes before the head of a heap", func(s *State) { s.conns[4].end = 0 }},
		{`I6: idle stack of workspace "b" out of order`, func(s *State) { slices.Reverse(s.workspaces["b"].idle) }},

		{"I3: 5 waiters known, 6 queued", func(s *State) { delete(s.waiters, 7) }},
		{"I9: 6 waiters while draining", func(s *State) { s.draining = true }},
		{"I8: waiter of lease 8 is out of order", func(s *State) { s.waiters[7].number = 99 }},
		{"I8: waiter of lease 7 is out of order or not filed", func(s *State) { s.waiters[7] = s.waiters[8] }},
		{"I8: waiter of lease 7 is out of order or not filed", func(s *State) { s.waiters[7].inWorkspace.remove() }},
		{`I3: workspace "a": 2 of its waiters queued, 3 in its own queue`, func(s *State) { s.workspaces["a"].queue.size++ }},
		{`I8: queue of workspace "a" out of order`, func(s *State) {
			first := s.workspaces["a"].queue.head
			first.item, first.next.item = first.next.item, first.item
		}},

		{`workspace "d" needs 1 for class 0, kept 2, in the heap true`, func(s *State) { s.workspaces["d"].need[interactive]++ }},
		{`workspace "d" needs 1 for class 0, kept 1, in the heap false`, func(s *State) { s.needy[interactive].remove(s.workspaces["d"]) }},
		{`workspace "d" is filed under the waiter of lease 6`, func(s *State) { s.workspaces["d"].firstNeedy[interactive] = &s.waiters[6].inWorkspace }},
		{`comes before the head of the needy heap`, func(s *State) { slices.Reverse(s.needy[interactive].items) }},
		{`workspace "f" waits for a retry: true, kept false`, func(s *State) { s.retries.remove(s.workspaces["f"]) }},
		{`I10: workspace "g" inactive: true, retired: false`, func(s *State) { s.workspaces["g"].listed.remove() }},
		{`I10: workspace "a" inactive: false, retired: true`, func(s *State) { s.retired.pushBack(&s.workspaces["a"].listed) }},
		{`workspace "c" has an unanswered pause`, func(s *State) { s.workspaces["c"].Paused = false }},
		{"demand [2 0 0] of [2 0 0] workspaces, 0 ready, 1 retries; kept [3 0 0], [2 0 0], 0, 1", func(s *State) { s.demand[interactive]++ }},
		{"I10: 1 workspaces retired, kept 2, allowed 1024", func(s *State) { s.retired.size++ }},
		{"I10: 1025 workspaces retired, kept 1025, allowed 1024", func(s *State) {
			for i := range 1024 {
				s.retired.pushBack(&s.lookup(model.WorkspaceID(fmt.Sprint(i))).listed)
			}
		}},

		{"I9: draining with 2 idle", func(s *State) { s.draining = true }},
		{"I9: draining with 0 idle, drained true with 6 open", func(s *State) {
			s.draining, s.drained, s.counts[idle] = true, true, 0
		}},
		{`I7: workspace "b" has 1 waiters and 2 idle`, func(s *State) { s.enqueue(Acquire{Lease: 20}, s.workspaces["b"]) }},
		{`workspace "b" is paused or in exclusive use and has 2 idle`, func(s *State) { s.workspaces["b"].Paused = true }},
		{"I7: 2 dials are wanted and could start", func(s *State) {
			s.limits.Budget, s.effective, s.pace.Limit = 10, 10, 10
		}},
		{"I1: 6 of 3 open and only 1 closing, but 2 idle", func(s *State) { s.effective, s.reclaimed = 3, true }},
		{"I7: 2 dials are wanted, 1 slots are coming, and 2 connections are idle", func(s *State) { s.pace.Limit, s.reclaimed = 10, true }},
	} {
		s := busy(t)
		test.spoil(s.State)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %s\n got %v", test.want, err)
		}
	}
}
