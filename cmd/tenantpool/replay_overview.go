package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/cmd/figures"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// overview says what the file holds, and the longest waits in it.
func (r *replay) overview(p *page) error {
	return r.each(p, func(recording core.Recording) error {
		p.title("  %s", kinds(recording.Entries))
		waits, err := findWaits(recording)
		if err != nil {
			return err
		}
		if len(waits) == 0 {
			p.title("  no acquire waited")
			return nil
		}
		const shown = 10
		slices.SortStableFunc(waits, func(a, b *wait) int { return cmp.Compare(b.took(), a.took()) })
		longest := waits[:min(shown, len(waits))]
		if err := findReasons(recording, longest); err != nil {
			return err
		}
		p.title("  %s acquires waited, the longest:", figures.Grouped(len(waits)))
		for _, w := range longest {
			p.title("    %q, lease %d: %s, %s", string(w.workspace), w.lease, spell(w.took()), w.outcome)
			why, part := w.mainReason()
			p.title("        for %s of it: %s", spell(part), why.words)
		}
		first := longest[0]
		p.title("  step by step: tenantpool replay %s --workspace %s --lease %d", r.file, shellWord(string(first.workspace)), first.lease)
		return nil
	})
}

// shellWord: an id that is no word is not one of a tenantpool.
func shellWord(s string) string {
	if _, err := model.ParseWorkspaceID(s); err != nil {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func shareName(r core.Recording) string {
	if r.System {
		return "The system database's share"
	}
	return "The workspaces' share"
}

func title(r core.Recording) string { return shareName(r) + ": " + contents(r) }

func contents(r core.Recording) string {
	l := r.Image.Limits
	begin := r.Start.Add(beginOf(r)).UTC().Format("2006-01-02 15:04:05.000 MST")
	messages := "messages"
	if len(r.Entries) == 1 {
		messages = "message"
	}
	text := fmt.Sprintf("%s %s in %s from %s on; budget %d, at most %d for one workspace",
		figures.Grouped(len(r.Entries)), messages, spell(endOf(r)-beginOf(r)), begin, l.Budget, l.PerWorkspace)
	if r.Image.EffectiveBudget < l.Budget {
		text += fmt.Sprintf(", of which the server grants %d", r.Image.EffectiveBudget)
	}
	return text
}

// kinds counts the messages by their kind, the most frequent first.
func kinds(entries []core.Entry) string {
	counts := map[string]int{}
	for _, e := range entries {
		word, _, _ := strings.Cut(core.DescribeMessage(e.Message()), " ")
		counts[word]++
	}
	var parts []string
	for _, word := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	}) {
		parts = append(parts, fmt.Sprintf("%s %s", figures.Grouped(counts[word]), word))
	}
	if len(parts) == 0 {
		return "no message"
	}
	return strings.Join(parts, ", ")
}

// wait is one acquire that was not answered at once.
type wait struct {
	workspace  model.WorkspaceID
	lease      core.LeaseID
	begin, end time.Duration
	outcome    string
	ended      bool // with an answer

	// What it waited for, by samples: see findReasons.
	times   map[reasonKind]time.Duration
	words   map[reasonKind]string
	current reasonKind
	since   time.Duration
}

func (w *wait) took() time.Duration { return w.end - w.begin }

// findWaits lists the acquires that waited, in the order of their arrival.
func findWaits(r core.Recording) ([]*wait, error) {
	var all []*wait
	open := map[core.LeaseID]*wait{}
	begin := func(lease core.LeaseID, id model.WorkspaceID, at time.Duration) {
		w := &wait{lease: lease, workspace: id, begin: at}
		open[lease] = w
		all = append(all, w)
	}
	end := func(lease core.LeaseID, at time.Duration, outcome string) {
		if w := open[lease]; w != nil {
			w.end, w.outcome, w.ended = at, outcome, true
			delete(open, lease)
		}
	}
	for _, wt := range r.Image.Waiters {
		begin(wt.Lease, wt.Workspace, wt.Arrived)
	}
	err := rerun(r, nil, func(s step) {
		if m, ok := s.message.(core.Acquire); ok {
			begin(m.Lease, m.Workspace, s.now)
		}
		for _, e := range s.effects {
			switch e := e.(type) {
			case core.Grant:
				end(e.Lease, s.now, fmt.Sprintf("then it got connection %d", e.Conn))
			case core.Reject:
				end(e.Lease, s.now, fmt.Sprintf("then it was refused: %q", e.Err))
			}
		}
	})
	for _, w := range open {
		w.end, w.outcome = endOf(r), "and it waits still"
	}
	return slices.DeleteFunc(all, func(w *wait) bool { return w.took() == 0 && w.ended }), err
}

// samples is how often a wait is looked at: to say why takes time linear in the
// number of waiters.
const samples = 50

// findReasons replays again, and asks the core for what the waits waited.
func findReasons(r core.Recording, waits []*wait) error {
	look := func(w *wait, s *core.State, now time.Duration) {
		if now < w.begin || now-w.since < w.took()/samples && w.current != noReason {
			return
		}
		if waiting, ok := s.Waiting(w.lease); ok {
			w.now(reasonFor(waiting), now)
		}
	}
	for _, w := range waits {
		w.times, w.words, w.since = map[reasonKind]time.Duration{}, map[reasonKind]string{}, w.begin
	}
	err := rerun(r, func(s *core.State) {
		for _, w := range waits {
			look(w, s, r.Image.Now)
		}
	}, func(s step) {
		for _, w := range waits {
			look(w, s.state, s.now)
		}
	})
	for _, w := range waits {
		w.now(reason{}, w.end)
	}
	return err
}

// now ends one reason and begins another. What was before the recording counts as
// the first one.
func (w *wait) now(why reason, at time.Duration) {
	if w.current != noReason {
		w.times[w.current] += at - w.since
		w.since = at
	}
	w.current = why.kind
	if _, known := w.words[why.kind]; !known {
		w.words[why.kind] = why.words
	}
}

// mainReason is that of the longest part of the wait.
func (w *wait) mainReason() (why reason, part time.Duration) {
	for kind := noReason + 1; kind <= budgetTaken; kind++ {
		if t, known := w.times[kind]; known && (t > part || why.kind == noReason) {
			why, part = reason{kind: kind, words: w.words[kind]}, t
		}
	}
	return why, part
}
