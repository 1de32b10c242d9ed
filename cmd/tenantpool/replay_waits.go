package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// step is one message of a recording, and what came of it.
type step struct {
	state   *core.State // after it
	at      time.Duration
	message core.Message // nil: this is how the recording begins
	subject model.WorkspaceID
	effects []core.Effect
}

// rerun replays a recording and calls each with its beginning and every step. What comes
// of a Reclaim comes of the message before it.
func rerun(r core.Recording, each func(step)) {
	state, err := core.Restore(r.Image)
	if err != nil {
		panic(err) // readDump has tried it
	}
	now := step{state: state, at: r.Image.Now}
	each(now)
	for i, e := range r.Entries {
		m := e.Message()
		if i == 0 || m != (core.Reclaim{}) {
			now = step{state, max(now.at, e.At), m, state.Subject(m), nil}
		}
		now.effects = append(now.effects, state.Step(e.At, m)...)
		if i+1 == len(r.Entries) || r.Entries[i+1].Message() != (core.Reclaim{}) {
			each(now)
		}
	}
}

// words are those of the core, with the workspace that they do not name.
func (s step) words() string {
	text := core.DescribeMessage(s.message)
	switch m := s.message.(type) {
	case core.DialFailed:
		text += fmt.Sprintf(" (%s): %v", s.subject, m.Err)
	case core.Cancel, core.Release, core.DialSucceeded, core.Closed:
		text += fmt.Sprintf(" (%s)", s.subject)
	}
	return text
}

func (r *replay) title(recording core.Recording) {
	image, share := recording.Image, "The workspaces' share"
	if recording.System {
		share = "The system database's share"
	}
	r.print("%s from %s to %s: messages: %d, budget: %d, granted by the server: %d, at most for one workspace: %d, eviction: %s", share,
		moment(recording, image.Now).Format(time.RFC3339Nano), moment(recording, recording.End).Format(time.RFC3339Nano),
		len(recording.Entries), image.Limits.Budget, image.EffectiveBudget, image.Limits.PerWorkspace, cmp.Or(image.Limits.Eviction, model.LRU))
}

func moment(r core.Recording, at time.Duration) time.Time {
	return r.Start.Add(at).UTC().Round(100 * time.Microsecond)
}

func short(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// wait is one acquire that was not answered at once.
type wait struct {
	workspace  model.WorkspaceID
	lease      core.LeaseID
	begin, end time.Duration
	outcome    string
	why        string        // halfway, or as soon as the recording tells
	looked     time.Duration // when that was found out
}

func (w *wait) took() time.Duration { return w.end - w.begin }

// overview says what the recording holds, and the longest waits in it.
func (r *replay) overview(recording core.Recording) {
	r.title(recording)
	var waits []*wait
	open := map[core.LeaseID]*wait{}
	begin := func(lease core.LeaseID, id model.WorkspaceID, at time.Duration) {
		open[lease] = &wait{lease: lease, workspace: id, begin: at, end: recording.End, outcome: "it waits still"}
		waits = append(waits, open[lease])
	}
	end := func(lease core.LeaseID, at time.Duration, e core.Effect) {
		if w := open[lease]; w != nil {
			w.end, w.outcome = at, core.DescribeEffect(e)
			delete(open, lease)
		}
	}
	for _, wt := range recording.Image.Waiters {
		begin(wt.Lease, wt.Workspace, wt.Arrived)
	}
	rerun(recording, func(s step) {
		if m, ok := s.message.(core.Acquire); ok {
			begin(m.Lease, m.Workspace, s.at)
		}
		for _, e := range s.effects {
			switch e := e.(type) {
			case core.Grant:
				end(e.Lease, s.at, e)
			case core.Reject:
				end(e.Lease, s.at, e)
			}
		}
	})
	waits = slices.DeleteFunc(waits, func(w *wait) bool { return w.took() == 0 && open[w.lease] == nil })
	slices.SortStableFunc(waits, func(a, b *wait) int { return cmp.Compare(b.took(), a.took()) })
	r.print("  acquires that waited: %d", len(waits))
	waits = waits[:min(10, len(waits))]
	rerun(recording, func(s step) {
		for _, w := range waits {
			if w.why != "" && (s.at > w.begin+w.took()/2 || s.at < w.looked+w.took()/50) { // it takes time
				continue
			}
			if now, waits := s.state.Waiting(w.workspace, w.lease); waits {
				w.why, w.looked = why(now), s.at
			}
		}
	})
	for _, w := range waits {
		r.print("    %v: --workspace %q --lease %d, then %s", short(w.took()), w.workspace, w.lease, w.outcome)
		r.print("        halfway it waited because: %s", w.why)
	}
}

// steps tells of all steps, or of those that bear on the workspace, or on one acquire
// of it, while that waited, and why it did.
func (r *replay) steps(recording core.Recording) {
	r.title(recording)
	var last core.Waiting // as it was told; the zero value: nobody waits
	told := r.all
	rerun(recording, func(s step) {
		now, waits := s.state.Waiting(r.workspace, r.lease)
		if !r.all && !waits && last.Lease == 0 {
			return // whoever came was answered at once
		}
		told = true
		stamp := moment(recording, s.at).Format("15:04:05.0000")
		if words := r.bearing(s, last); len(words) > 0 {
			r.print("%s  %s", stamp, strings.Join(words, "; "))
			stamp = ""
		}
		if !waits || now.Lease != last.Lease || kind(now) != kind(last) || 2*now.Before <= last.Before && now.Before < last.Before {
			if last = now; waits {
				r.print("%13s      lease %d of %q waits because: %s", stamp, now.Lease, r.workspace, why(now))
			}
		}
	})
	switch {
	case !told:
		r.print("  it did not wait: without --workspace and --lease you see who did")
	case last.Lease != 0:
		r.print("%13s  lease %d waits still", "", last.Lease)
	}
}

// bearing tells of a step as far as it bears on the workspace, or on a slot that it
// could have used. last is how somebody waited before the step.
func (r *replay) bearing(s step, last core.Waiting) (words []string) {
	own, slot := s.subject == r.workspace, last.Lease != 0 && elsewhere(last)
	switch m := s.message.(type) {
	case nil:
		return nil
	case core.Tick:
	case core.Acquire:
		own = own && (r.lease == 0 || r.lease == m.Lease)
		slot = false // who finds an idle connection takes nobody's slot
	case core.DialFailed:
		own = own || m.Kind == model.ServerDown || m.Kind == model.ServerFull
	default:
		own = own || s.subject == ""
	}
	words = []string{s.words()}
	for _, e := range s.effects {
		bears := r.all
		switch e := e.(type) {
		case core.Grant:
			bears = bears || e.Workspace == r.workspace || slot
		case core.Dial:
			bears = bears || e.Workspace == r.workspace || slot
		case core.Close:
			bears = bears || e.Workspace == r.workspace || e.For == r.workspace || e.For != "" && slot
		case core.Reject:
			bears = bears || s.subject == r.workspace || e.Lease == last.Lease
		}
		if bears {
			words = append(words, core.DescribeEffect(e))
		}
	}
	if own || r.all || len(words) > 1 {
		return words
	}
	return nil
}

// elsewhere tells whether it matters to the waiter what other workspaces do.
func elsewhere(w core.Waiting) bool {
	return kind(w) == model.BudgetLimit.String() || errors.Is(w.Reason, model.ErrDialing) && !w.Covered
}

// kind is what reasons have in common that differ in their numbers.
func kind(w core.Waiting) string {
	if limit := (*model.ConnectionLimitError)(nil); errors.As(w.Reason, &limit) {
		return limit.Limit.String()
	}
	return fmt.Sprint(errors.Unwrap(w.Reason), w.Covered)
}

// why is the reason in the words of the refusal that it would become.
func why(w core.Waiting) string {
	_, text, _ := strings.Cut(w.Reason.Error(), ": ") // who waits is said already
	if errors.Is(w.Reason, model.ErrDialing) && !w.Covered {
		text += "; its turn to dial, or a slot, has not come yet"
	}
	if w.RetryIn > 0 {
		text += fmt.Sprintf("; the next dial may start in %v", short(w.RetryIn))
	}
	return fmt.Sprintf("%s; before it: %d, of its workspace %d", text, w.Before, w.BeforeOwn)
}
