package door

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestGuessesAreSlowedAndBounded(t *testing.T) {
	l := openLobby(10)
	defer close(l.closed)
	now := time.Unix(1_000_000, 0)
	attacker, owner := guesser{"alice", "192.0.2.1"}, guesser{"alice", "192.0.2.2"}
	want := []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 5000, 5000}
	for i, milliseconds := range want {
		wait, ok := l.attempt(attacker, now)
		if !ok || wait != milliseconds*time.Millisecond {
			t.Fatalf("attempt %d: %v, %v", i, wait, ok)
		}
		now = now.Add(wait)
		l.wrong(attacker, now)
	}
	if wait, ok := l.attempt(owner, now); wait != 0 || !ok {
		t.Errorf("from another address: %v, %v", wait, ok)
	}
	// Many at once stand one behind the other, and not for ever.
	let := 0
	for range 1000 {
		if _, ok := l.attempt(attacker, now); ok {
			let++
		}
	}
	if let > 3 {
		t.Errorf("%d may wait at once", let)
	}
	now = now.Add(time.Minute)
	if wait, ok := l.attempt(attacker, now); wait != 0 || !ok {
		t.Errorf("a minute later: %v, %v", wait, ok)
	}
	l.right(attacker)
	l.wrong(attacker, now)
	if wait, _ := l.attempt(attacker, now); wait != guessPause {
		t.Errorf("after the right one they are forgotten: %v", wait)
	}
	for i := range 3 * guessesAtMost {
		l.wrong(guesser{fmt.Sprint(i), "192.0.2.3"}, now)
	}
	l.ask(func() {
		if len(l.guesses) > guessesAtMost || l.recent.Len() != len(l.guesses) {
			t.Errorf("%d and %d are remembered", len(l.guesses), l.recent.Len())
		}
	})
}

func TestTheOldestGivesWay(t *testing.T) {
	l := openLobby(2)
	defer close(l.closed)
	closed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		netErr, ok := err.(net.Error)
		return !ok || !netErr.Timeout()
	}
	var theirs []net.Conn
	var leave []func()
	for range 3 {
		ours, other := net.Pipe()
		theirs = append(theirs, other)
		leave = append(leave, l.enter(ours))
	}
	if !closed(theirs[0]) || closed(theirs[1]) || closed(theirs[2]) {
		t.Error("it is not the oldest that was closed")
	}
	if n := l.starting(); n != 2 {
		t.Errorf("%d are there", n)
	}
	leave[0]() // who is out already
	leave[1]()
	leave[1]()
	if n := l.starting(); n != 1 {
		t.Errorf("%d are there", n)
	}
}
