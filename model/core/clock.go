package core

import "time"

// passTime does what has become due since the last message.
func (s *State) passTime() {
	s.giveUpOnLingering()
	s.raiseEffective()
	for s.retries.size() > 0 && s.retries.min().Backoff.Until <= s.now {
		s.reindex(s.retries.min())
	}
	s.closeEnded()
}

// askForTick emits WakeAt when the next time at which something becomes due has
// changed.
func (s *State) askForTick() {
	if at := s.nextDue(); at != s.wakeAt {
		s.wakeAt = at
		s.emit(WakeAt{At: at})
	}
}

// nextDue is when passTime will next have something to do, or Never.
func (s *State) nextDue() time.Duration {
	at := Never
	if s.draining {
		return at
	}
	if s.ends.size() > 0 {
		at = s.ends.min().end
	}
	if s.retries.size() > 0 {
		at = min(at, s.retries.min().Backoff.Until)
	}
	if s.effective < s.limits.Budget {
		at = min(at, s.probe.At)
	}
	if s.dialable() > 0 {
		if s.server.lasts(s.now) {
			at = min(at, s.server.Until)
		}
		if s.onTheWay.size > 0 {
			at = min(at, s.onTheWay.head.item.Since+s.limits.CloseGrace)
		}
	}
	return at
}
