package replicas

import (
	"context"
	"runtime"
)

// Abandon plays the process's end: the control session ends without a word, and with it the
// goroutine.
func (s *Session) Abandon() {
	end := func(context.Context, *Store) error {
		_ = s.store.Conn.PgConn().Conn().Close()
		runtime.Goexit()
		return nil
	}
	for { // until there is a control session to end
		select {
		case s.asked <- question{end, make(chan error, 1)}:
		case <-s.done:
			return
		}
	}
}

// MayDial tells whether a dial may begin besides the open ones, once a round trip on the
// control session that was begun for it is answered (rule 3).
func (m *Member) MayDial(open int) bool { return m.connected && open < m.limit }
