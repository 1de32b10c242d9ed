package replicas

import (
	"context"
	"errors"
	"time"
)

// hurryFor is how long after a change a replica looks more often.
const hurryFor = time.Second

// What a group costs the server must not grow with the number of its replicas. So each of
// many looks, says and decides less often than each of a few, by this:
const (
	// perReplica times the number of replicas is how often each looks at its row.
	perReplica = 30 * time.Millisecond
	// sayEach times that is how often it says what it is doing, when that is no news.
	sayEach = 4
	// apart times the number of replicas is how far apart the looks at the whole group are.
	apart = 15 * time.Millisecond
	// lookEvery is how often somebody looks at the whole group although nobody has asked
	// for it: for a replica that is gone, a stranger, a need that grew.
	lookEvery = time.Second
	// viewEvery is how often each does so at least.
	viewEvery = 30 * time.Second
)

// pace is how often the replica looks at its row, and fast how often it does so in a hurry.
func (s *Session) pace() time.Duration {
	return max(s.options.Every, time.Duration(s.size)*perReplica)
}

func (s *Session) fast() time.Duration {
	return max(s.options.Every/5, time.Duration(s.size)*perReplica/2)
}

// look does what is to be done every now and then.
func (s *Session) look(draining bool) {
	if s.store.Conn == nil && !s.reconnect() {
		return
	}
	row, err := s.read()
	if err != nil {
		return
	}
	use := s.pool.Use()
	use.Wants = min(use.Wants, s.group.Budget)
	if promised, seq, due := s.member.Report(use.Open); due {
		if s.try(func(ctx context.Context) error { return s.store.Report(ctx, s.options.ID, seq, promised) }) != nil {
			return
		}
		s.undecided = true // somebody waits for it
	}
	if now := (said{use, draining}); now != s.said {
		pace, news := s.pace(), s.news(now)
		switch {
		case row.Granted < row.Promised: // what it is asked for depends on what it says
			pace = s.fast()
		case !news:
			pace *= sayEach
		}
		if time.Since(s.saidAt) >= pace {
			if s.try(func(ctx context.Context) error { return s.store.Say(ctx, s.options.ID, use, draining) }) != nil {
				return
			}
			s.said, s.saidAt = now, time.Now()
			if news {
				s.undecided, s.hurry = true, time.Now().Add(hurryFor)
			}
		}
	}
	if s.undecided && row.Ago >= time.Duration(s.size)*apart || row.Ago >= lookEvery || time.Since(s.viewed) >= viewEvery {
		s.decide(row.LookedAt)
	}
}

// news tells whether the others should know it at once: a need that is not met and is
// new, or has grown by half; or that most of what it has, and much of the budget, is no
// longer needed, for which somebody may wait. What changes by less waits, or the needs of
// busy replicas, which change all the time, would keep the server busy.
func (s *Session) news(now said) bool {
	limit := s.member.Limit()
	switch {
	case now.draining != s.said.draining:
		return true
	case now.Wants > limit:
		return s.said.Wants <= limit || now.Wants*2 >= s.said.Wants*3
	}
	const much = 20 // a twentieth
	return s.said.Wants >= limit && now.Wants <= limit/2 && limit-now.Wants >= s.group.Budget/much
}

// decide looks at the whole group and makes a decision, if nobody else has begun to since
// lookedAt.
func (s *Session) decide(lookedAt time.Time) {
	changed := false
	err := s.try(func(ctx context.Context) error {
		mine, err := s.store.Claim(ctx, lookedAt)
		if err != nil || !mine {
			return err
		}
		v, version, now, err := s.store.View(ctx)
		if err != nil {
			return err
		}
		s.size, s.viewed, s.undecided = len(v.Replicas), time.Now(), false
		decision := Step(now, v)
		for _, r := range decision { // of one that is missed only the next look takes something back
			s.undecided = s.undecided || r.GoneAt.Equal(now)
		}
		if changed = len(decision) > 0; !changed {
			return nil
		}
		return s.store.Decide(ctx, version, decision)
	})
	switch {
	case errors.Is(err, ErrOutdated):
		s.undecided = true
	case err == nil && changed:
		_, _ = s.read()
	}
}

// read takes in the row.
func (s *Session) read() (row Row, err error) {
	err = s.try(func(ctx context.Context) error {
		var err error
		if row, err = s.store.Row(ctx, s.options.ID); err != nil {
			return err
		}
		before := s.member.Limit()
		s.member.Read(row.Replica)
		if s.member.Limit() != before {
			s.hurry = time.Now().Add(hurryFor)
		}
		if row.Budget != s.group.Budget {
			s.options.Log.Info("The group has another budget", "group", s.options.Group, "budget", row.Budget, "before", s.group.Budget)
		}
		s.group.Budget, s.group.Floor = row.Budget, row.Floor
		s.hold()
		return nil
	})
	return row, err
}
