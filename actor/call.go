package actor

import (
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// call is an Acquire on its way to the supervisor and back. Its caller owns it, but
// for what is said below.
type call struct {
	share   *share
	message core.Acquire
	reply   chan reply  // has room for the one reply
	timer   *time.Timer // nil until it is first needed

	// Only the supervisor touches what follows: where it is counted as waiting, or nil, and
	// since when.
	seats   *seats
	arrived time.Duration
}

// reply answers an Acquire.
type reply struct {
	err   error
	lease Lease
}

// takeCall returns a call with no reply under way.
func (s *Supervisor) takeCall() *call {
	if c, ok := s.calls.Get().(*call); ok {
		return c
	}
	return &call{reply: make(chan reply, 1)}
}

// recycle is for who has taken the one reply: nobody else has the call any more.
func (s *Supervisor) recycle(c *call) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.message, c.share = core.Acquire{}, nil
	s.calls.Put(c)
}

// startTimer returns what comes after d, or never if d is 0.
func (c *call) startTimer(d time.Duration) <-chan time.Time {
	switch {
	case d == 0:
		return nil
	case c.timer == nil:
		c.timer = time.NewTimer(d)
	default:
		c.timer.Reset(d)
	}
	return c.timer.C
}
