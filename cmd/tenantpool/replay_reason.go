package main

import (
	"errors"
	"fmt"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// reason is why an acquire waits, in words.
type reason struct {
	kind   reasonKind
	words  string
	before int // how many acquires are before it, as far as that matters
}

type reasonKind int

const (
	noReason reasonKind = iota
	paused
	inUse
	backingOff
	serverDown
	ownLimit
	ownDial
	dialPace
	slotComing
	budgetTaken
)

// others tells whether it matters to the waiter what other workspaces do.
func (k reasonKind) others() bool { return k >= dialPace }

// reasonFor puts into words what the core says.
func reasonFor(w core.Waiting) reason {
	r := reason{}
	r.kind, r.words = explain(w)
	switch {
	case r.kind == ownLimit:
		r.before = w.BeforeOwn
	case r.kind.others():
		r.before = w.Before
	}
	return r
}

func explain(w core.Waiting) (reasonKind, string) {
	var dial *model.DialError
	var limit *model.ConnectionLimitError
	switch {
	case errors.Is(w.Reason, model.ErrPaused):
		return paused, "the workspace is paused, or in exclusive use, until that ends"
	case errors.Is(w.Reason, model.ErrInUse):
		return inUse, fmt.Sprintf("it wants to be alone, but the workspace still has connections, or another exclusive acquire came first (%s)", inWords(w.Own))
	case errors.As(w.Reason, &dial):
		kind, words := backingOff, fmt.Sprintf("its last dial failed (%s, %q)", dial.Kind, dial.Err)
		if dial.Kind == model.ServerDown {
			kind, words = serverDown, fmt.Sprintf("the server is down (%q)", dial.Err)
		}
		if dial.Attempts > 1 {
			words += fmt.Sprintf(", %d failed in a row", dial.Attempts)
		}
		if w.RetryIn > 0 {
			words += fmt.Sprintf("; the next dial may start in %s", spell(w.RetryIn))
		}
		return kind, words
	case errors.As(w.Reason, &limit) && limit.Limit == model.WorkspaceLimit && w.Own.Open() < w.PerWorkspace:
		return ownLimit, fmt.Sprintf("its workspace may have at most %d, which go to the acquires of it that are before this one (%d)",
			w.PerWorkspace, w.BeforeOwn)
	case errors.As(w.Reason, &limit) && limit.Limit == model.WorkspaceLimit:
		return ownLimit, fmt.Sprintf("its workspace has the %d connections that one may have (%s)%s",
			w.Own.Open(), inWords(w.Own), before(w.BeforeOwn, " of its workspace"))
	case errors.As(w.Reason, &limit):
		words := fmt.Sprintf("all %d connections are taken (%s)", w.EffectiveBudget, inWords(w.All))
		if w.EffectiveBudget < w.Budget {
			words += fmt.Sprintf(", %d fewer than the budget because the server refused more", w.Budget-w.EffectiveBudget)
		}
		return budgetTaken, words + before(w.Before, "")
	case w.BeforeOwn < w.Own.Dialing:
		return ownDial, fmt.Sprintf("its connection is being opened (%d under way for its workspace)", w.Own.Dialing)
	case w.All.Dialing >= w.MostDialing:
		return dialPace, fmt.Sprintf("as many connections are being opened as may be at once (%d)%s", w.All.Dialing, before(w.Before, ""))
	}
	return slotComing, fmt.Sprintf("a slot is about to come free (%s)%s", inWords(w.All), before(w.Before, ""))
}

// before is how many come first.
func before(n int, of string) string {
	switch n {
	case 0:
		return ", and it is the next" + of
	case 1:
		return ", and 1 acquire" + of + " is before it"
	}
	return fmt.Sprintf(", and %d acquires%s are before it", n, of)
}

// inWords leaves out what is 0.
func inWords(c model.Counts) string {
	text := ""
	for _, part := range []struct {
		n    int
		word string
	}{{c.InUse, "in use"}, {c.Idle, "idle"}, {c.Dialing, "dialing"}, {c.Closing, "closing"}} {
		if part.n == 0 {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", part.n, part.word)
	}
	if text == "" {
		return "none open"
	}
	return text
}
