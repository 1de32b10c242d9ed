package door

import (
	"container/list"
	"net"
	"time"
)

// lobby knows who is on the way to be logged in, and who has guessed wrong of late.
type lobby struct {
	owner
	most    int
	order   list.List // of net.Conn, in the order in which they came
	guesses map[guesser]*list.Element
	recent  list.List // of *guessed, the most recent one first
}

// guesser is a user as an address tries it: so guesses from one keep nobody out at another.
type guesser struct{ user, address string }

type guessed struct {
	by    guesser
	wrong int
	// next is when the next attempt may be looked at.
	next time.Time
}

const (
	guessesAtMost   = 4096
	guessPause      = 100 * time.Millisecond // after the first wrong one; it doubles
	guessPauseMost  = 5 * time.Second
	guessWaitAtMost = 10 * time.Second // of one attempt behind others; then it is refused
)

func openLobby(most int) *lobby {
	l := &lobby{owner: newOwner(), most: most, guesses: make(map[guesser]*list.Element)}
	go func() {
		for {
			select {
			case visit := <-l.visits:
				visit()
			case <-l.closed:
				return
			}
		}
	}()
	return l
}

// enter is for a client that was accepted; leave is for when it is logged in or gone. When
// there are too many the oldest gives way: who is slow keeps nobody out.
func (l *lobby) enter(conn net.Conn) (leave func()) {
	var mine *list.Element
	l.ask(func() {
		if l.order.Len() >= l.most {
			oldest := l.order.Front()
			_ = l.order.Remove(oldest).(net.Conn).Close()
		}
		mine = l.order.PushBack(conn)
	})
	return func() {
		l.ask(func() {
			if mine != nil {
				l.order.Remove(mine) // or it is out already
			}
		})
	}
}

func (l *lobby) starting() (n int) {
	l.ask(func() { n = l.order.Len() })
	return n
}

// attempt is how long an attempt has to wait before it is looked at; ok: it may.
func (l *lobby) attempt(by guesser, now time.Time) (wait time.Duration, ok bool) {
	ok = true
	l.ask(func() {
		e := l.guesses[by]
		if e == nil {
			return
		}
		g := e.Value.(*guessed)
		if wait = max(0, g.next.Sub(now)); wait > guessWaitAtMost {
			ok = false
			return
		}
		g.next = now.Add(wait + pauseAfter(g.wrong))
	})
	return wait, ok
}

// wrong notes a failed attempt, and right forgets those before it.
func (l *lobby) wrong(by guesser, now time.Time) {
	l.ask(func() {
		e := l.guesses[by]
		if e == nil {
			if len(l.guesses) >= guessesAtMost {
				delete(l.guesses, l.recent.Remove(l.recent.Back()).(*guessed).by)
			}
			e = l.recent.PushFront(&guessed{by: by})
			l.guesses[by] = e
		}
		l.recent.MoveToFront(e)
		g := e.Value.(*guessed)
		g.wrong++
		if next := now.Add(pauseAfter(g.wrong)); next.After(g.next) {
			g.next = next
		}
	})
}

func (l *lobby) right(by guesser) {
	l.ask(func() {
		if e := l.guesses[by]; e != nil {
			l.recent.Remove(e)
			delete(l.guesses, by)
		}
	})
}

func pauseAfter(wrong int) time.Duration {
	return min(guessPause<<min(wrong-1, 10), guessPauseMost)
}
