package property_tests

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

var update = flag.Bool("update", false, "write the reference's effects into testdata/*.txt")

// TestTranscripts replays testdata/*.txt. A line is prose (#), the limits, a
// message with its time, or, indented, an effect of the message above it:
//
//	limits budget=1 cap=1
//	0s acquire 1 a
//	    dial 1 for a
//
// With -update the effects are written anew, by the reference and not by the core.
// Read them before they are committed: the prose says what they should be.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			byReference := replay(t, file, string(text), func(l model.Limits) machine { return newReference(l) })
			if *update {
				if err := os.WriteFile(file, []byte(byReference), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			sameText(t, file, "the reference", string(text), byReference)
			sameText(t, file, "the core", string(text), replay(t, file, string(text), newCore))
		})
	}
}

// replay returns the transcript with the effects that the core has.
func replay(t *testing.T, file, text string, make func(model.Limits) machine) string {
	t.Helper()
	var c machine
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		b.WriteString(line + "\n")
		fail := func(err error) {
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
		}
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "limits":
			limits, err := parseLimits(words[1:])
			fail(err)
			c = make(limits)
		default:
			at, err := time.ParseDuration(words[0])
			fail(err)
			m, err := parseMessage(strings.Join(words[1:], " "))
			fail(err)
			for _, e := range step(c, at, m) {
				b.WriteString("    " + core.DescribeEffect(e) + "\n")
			}
			fail(c.Check())
		}
	}
	return b.String()
}

func sameText(t *testing.T, file, who, want, got string) {
	t.Helper()
	if got == want {
		return
	}
	wantLines, gotLines := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(wantLines), len(gotLines)) {
		if wantLines[i] != gotLines[i] {
			t.Errorf("%s:%d: %s:\n%s\nthe transcript:\n%s", file, i+1, who, gotLines[i], wantLines[i])
			return
		}
	}
	t.Errorf("%s: %s has %d lines, the transcript %d", file, who, len(gotLines), len(wantLines))
}

// transcriptLimits are those of a transcript that says nothing else.
func transcriptLimits() model.Limits {
	return model.Limits{
		Budget: 2, PerWorkspace: 2, MaxWaiters: 100, MaxWaitersPerWorkspace: 50, MaxDialing: 4,
		BackoffMin: ms(100), BackoffMax: time.Second, CloseGrace: time.Second, ProbeAfter: time.Second,
	}
}

func parseLimits(words []string) (model.Limits, error) {
	l := transcriptLimits()
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		var err error
		number := func(to *int) { _, err = fmt.Sscan(value, to) }
		duration := func(to *time.Duration) { *to, err = time.ParseDuration(value) }
		switch name {
		case "budget":
			number(&l.Budget)
		case "cap":
			number(&l.PerWorkspace)
		case "waiters":
			number(&l.MaxWaiters)
		case "waiters-each":
			number(&l.MaxWaitersPerWorkspace)
		case "dialing":
			number(&l.MaxDialing)
		case "eviction":
			l.Eviction = model.Eviction(value)
		case "batch":
			_, err = fmt.Sscan(value, &l.BatchShare)
		case "patience":
			duration(&l.Patience)
		case "lifetime":
			duration(&l.MaxLifetime)
		case "jitter":
			duration(&l.LifetimeJitter)
		case "idle":
			duration(&l.MaxIdleTime)
		case "verify":
			duration(&l.VerifyAfter)
		case "grace":
			duration(&l.CloseGrace)
		case "probe":
			duration(&l.ProbeAfter)
		case "seed":
			_, err = fmt.Sscan(value, &l.Seed)
		case "backoff":
			least, most, _ := strings.Cut(value, "..")
			if l.BackoffMin, err = time.ParseDuration(least); err == nil {
				l.BackoffMax, err = time.ParseDuration(most)
			}
		default:
			err = fmt.Errorf("no such limit")
		}
		if err != nil {
			return l, fmt.Errorf("%s: %w", word, err)
		}
	}
	return l, nil
}

// parseMessage reads what core.DescribeMessage writes, and checks that it does.
func parseMessage(text string) (core.Message, error) {
	name, rest, _ := strings.Cut(text, " ")
	words := strings.Fields(rest)
	var numbers []uint64 // the words that are numbers
	for _, word := range words {
		var n uint64
		if _, err := fmt.Sscanf(word, "%d", &n); err == nil {
			numbers = append(numbers, n)
		}
	}
	number := func(i int) uint64 {
		if i < len(numbers) {
			return numbers[i]
		}
		return 0
	}
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	var m core.Message
	switch name {
	case "acquire":
		if len(words) < 2 {
			return nil, fmt.Errorf("%q names no workspace", text)
		}
		how := words[2:]
		m = core.Acquire{
			Lease: core.LeaseID(number(0)), Workspace: model.WorkspaceID(words[1]),
			NoWait: slices.Contains(how, "nowait"), Exclusive: slices.Contains(how, "exclusive"),
			Batch: slices.Contains(how, "batch"),
		}
	case "cancel":
		m = core.Cancel{Lease: core.LeaseID(number(0))}
	case "release":
		released := core.Release{Lease: core.LeaseID(number(0)), Conn: core.ConnID(number(1))}
		for i, word := range words {
			for health := core.Clean; health <= core.Lost; health++ {
				if word == health.String() {
					released.Health = health
				}
			}
			to := map[string]*time.Duration{"at": &released.At, "before": &released.Before}[word]
			if to != nil && i+1 < len(words) {
				var err error
				if *to, err = time.ParseDuration(words[i+1]); err != nil {
					return nil, err
				}
			}
		}
		m = released
	case "dialed":
		m = core.DialSucceeded{Conn: core.ConnID(number(0))}
	case "dial-failed":
		failed := core.DialFailed{Conn: core.ConnID(number(0)), Err: errDial, SlotHeld: last == "slot-held"}
		for kind := model.Transient; kind <= model.ServerFull; kind++ {
			if slices.Contains(words, kind.String()) {
				failed.Kind = kind
			}
		}
		m = failed
	case "closed":
		m = core.Closed{Conn: core.ConnID(number(0))}
	case "evict":
		m = core.Evict{Operation: core.OperationID(number(0)), Workspace: model.WorkspaceID(last)}
	case "renew":
		m = core.Renew{Operation: core.OperationID(number(0)), Workspace: model.WorkspaceID(last)}
	case "renew-all":
		m = core.Renew{Operation: core.OperationID(number(0)), All: true}
	case "pause":
		m = core.Pause{Operation: core.OperationID(number(0)), Workspace: model.WorkspaceID(last)}
	case "resume":
		m = core.Resume{Workspace: model.WorkspaceID(last)}
	case "set-limits":
		m = core.SetLimits{Budget: int(number(0)), PerWorkspace: int(number(1))}
	case "drain":
		m = core.Drain{}
	case "reclaim":
		m = core.Reclaim{}
	case "tick":
		m = core.Tick{}
	default:
		return nil, fmt.Errorf("no such message: %s", name)
	}
	if again := core.DescribeMessage(m); again != text {
		return nil, fmt.Errorf("%q was understood as %q", text, again)
	}
	return m, nil
}
