package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// step is one message of a recording, and what came of it.
type step struct {
	state   *core.State // after it
	begin   time.Duration
	now     time.Duration
	message core.Message
	effects []core.Effect
}

// rerun replays a recording. Each function may be nil: first sees the state in
// which the recording begins, each every step.
func rerun(r core.Recording, first func(*core.State), each func(step)) error {
	state, err := core.Restore(r.Image)
	if err != nil {
		return err
	}
	if first != nil {
		first(state)
	}
	now := r.Image.Now
	for i := 0; i < len(r.Entries); i++ {
		e := r.Entries[i]
		now = max(now, e.At)
		m := e.Message()
		effects := slices.Clone(state.Step(e.At, m))
		for i+1 < len(r.Entries) && r.Entries[i+1].Message() == (core.Reclaim{}) { // what comes of m
			i++
			effects = append(effects, state.Step(r.Entries[i].At, core.Reclaim{})...)
		}
		if each != nil {
			each(step{state, beginOf(r), now, m, effects})
		}
	}
	return nil
}

// beginOf is when the first message came. Of late nothing may have come before it.
func beginOf(r core.Recording) time.Duration {
	if len(r.Entries) == 0 {
		return r.Image.Now
	}
	return max(r.Image.Now, r.Entries[0].At)
}

func endOf(r core.Recording) time.Duration {
	end := max(beginOf(r), r.End)
	for _, e := range r.Entries {
		end = max(end, e.At)
	}
	return end
}

// stamp is the time since the recording's beginning.
func (s step) stamp() string { return fmt.Sprintf("%11s", "+"+spell(s.now-s.begin)) }

// margin is as wide as a stamp.
func (s step) margin() string { return strings.Repeat(" ", 11) }

// spell writes a duration with three digits at most behind a space.
func spell(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%d us", d.Microseconds())
}
