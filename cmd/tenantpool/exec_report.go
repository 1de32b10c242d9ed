package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/cmd/internal/work"
	"github.com/tenantpool/tenantpool/model"
)

// execReport tells how far exec is, on standard error, and what came of it, on standard
// output.
type execReport struct {
	options execOptions
	out     io.Writer
	con     *stage.Console
	all     int
	began   time.Time

	earlier, now, failed int // that have ended
	shown                time.Time
}

// done tells of one workspace.
func (r *execReport) done(result work.Result) {
	if result.Earlier {
		r.earlier++
	} else {
		r.now++
	}
	if result.State != work.Done {
		r.failed++
	}
	if r.options.json {
		r.json(result)
	}
	switch {
	case result.State != work.Done:
		r.con.Printf("%s: %s", result.Workspace, execFailure(result))
	case !r.con.Rewrites() && !result.Earlier:
		r.con.Printf("%s: done (%s, %d of %d)", result.Workspace, execSeconds(result.Seconds), r.earlier+r.now, r.all)
	}
	if now := time.Now(); now.Sub(r.shown) > redrawEvery || r.earlier+r.now == r.all {
		r.shown = now
		r.con.Show(r.bar(now))
	}
}

// execFailure is the error, and what the command wrote below it.
func execFailure(result work.Result) string {
	s := fmt.Sprintf("%s (%s): %s", result.State, execSeconds(result.Seconds), result.Error)
	if result.Earlier {
		s = fmt.Sprintf("%s (by the journal): %s", result.State, result.Error)
	}
	for line := range strings.Lines(result.Output) {
		s += "\n  | " + strings.TrimRight(line, "\r\n")
	}
	return s
}

func execSeconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// barWidth leaves room for the figures in 80 columns.
const barWidth = 30

func (r *execReport) bar(now time.Time) string {
	ended := r.earlier + r.now
	full := barWidth * ended / r.all
	s := fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), ended, r.all)
	if r.failed > 0 {
		s += fmt.Sprintf(", %d not done", r.failed)
	}
	if left := r.all - ended; left > 0 && r.now > 0 {
		s += ", " + clock(now.Sub(r.began)/time.Duration(r.now)*time.Duration(left)) + " left"
	}
	return s
}

// json: who reads it is told of an error by its own end.
func (r *execReport) json(v any) { _ = json.NewEncoder(r.out).Encode(v) }

// execSummary is the last line of --json.
type execSummary struct {
	Workspaces  int     `json:"workspaces"`
	Done        int     `json:"done"`
	DoneEarlier int     `json:"doneEarlier"`
	Failed      int     `json:"failed"`
	Uncertain   int     `json:"uncertain"`
	NotBegun    int     `json:"notBegun"`
	Cause       string  `json:"cause,omitempty"`
	Seconds     float64 `json:"seconds"`
}

// end writes the summary.
func (r *execReport) end(s work.Summary) {
	if r.earlier+r.now > 0 {
		r.con.KeepLine()
	}
	r.con.Stop()
	took := time.Since(r.began)
	if r.options.json {
		for _, id := range s.NotBegun {
			r.json(work.Result{Workspace: id, State: work.NotBegun})
		}
		all := execSummary{
			Workspaces: s.Workspaces, Done: s.Done, DoneEarlier: s.DoneEarlier,
			Failed: s.Failed, Uncertain: s.Uncertain, NotBegun: len(s.NotBegun), Seconds: took.Seconds(),
		}
		if s.Cause != nil {
			all.Cause = s.Cause.Error()
		}
		r.json(map[string]execSummary{"summary": all})
		return
	}
	fmt.Fprintf(r.out, "%s workspaces: %s done", stage.Grouped(s.Workspaces), stage.Grouped(s.Done))
	if s.DoneEarlier > 0 {
		fmt.Fprintf(r.out, " (%s of them earlier)", stage.Grouped(s.DoneEarlier))
	}
	for _, other := range []struct {
		n    int
		what string
	}{{s.Failed, "failed"}, {s.Uncertain, "uncertain"}, {len(s.NotBegun), "not begun"}} {
		if other.n > 0 {
			fmt.Fprintf(r.out, ", %s %s", stage.Grouped(other.n), other.what)
		}
	}
	fmt.Fprintf(r.out, " (%s)\n", took.Round(time.Millisecond))
	if s.Cause != nil && !errors.Is(s.Cause, errInterrupted) {
		fmt.Fprintf(r.out, "why some were not begun: %v\n", s.Cause)
	}
	if len(s.NotBegun) > 0 {
		fmt.Fprintf(r.out, "not begun: %s\n", listed(s.NotBegun))
	}
}

// listedAtMost is how many ids a line has; --json has them all.
const listedAtMost = 20

func listed(ids []model.WorkspaceID) string {
	var names []string
	for _, id := range ids[:min(len(ids), listedAtMost)] {
		names = append(names, string(id))
	}
	if more := len(ids) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, " ")
}

// dryRun lists the workspaces in their order.
func (r *execReport) dryRun(ids []model.WorkspaceID, journal *work.Journal) error {
	counts := map[string]int{}
	for _, id := range ids {
		would := "run"
		switch state := journal.Earlier(id); state {
		case work.Done:
			would = "skip: done"
		case work.Uncertain:
			would = "skip: uncertain"
			if r.options.retryUncertain {
				would = "run: uncertain"
			}
		case work.Begun, work.Committing:
			would = "ask the server: " + string(state)
		case work.Failed:
			would = "run: failed before"
		}
		counts[strings.SplitN(would, ":", 2)[0]]++
		if r.options.json {
			r.json(map[string]string{"workspace": string(id), "would": would})
		} else {
			fmt.Fprintf(r.out, "%s\t%s\n", id, would)
		}
	}
	r.con.Printf("dry run: nothing was done; it would run in %d of %d workspaces, skip %d, and ask the server about %d",
		counts["run"], len(ids), counts["skip"], counts["ask the server"])
	return nil
}
