package bench

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/tenantpool/tenantpool/cmd/figures"
)

// WriteText writes the result for people.
func (r *Result) WriteText(out io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s workers, %q, %d x %g s for each strategy: medians (min..max)\n", figures.Grouped(r.Workers), r.Query, r.Rounds, r.Seconds)
	fmt.Fprintf(&text, "%d connections for the workspaces of tenantpool, PgBouncer and the LRU of pools, at most %d each;\nconnect and pgxpools may have all %d that the server grants\n",
		r.WorkspaceBudget, r.Cap, r.Budget)
	for _, w := range r.Workloads {
		w.write(&text)
	}
	_, err := out.Write(text.Bytes())
	return err
}

func (r Report) write(text *bytes.Buffer) {
	fmt.Fprintf(text, "\n%s\n\n", r.title())
	table(text, "  strategy\trequests/s\t\tp50 ms\tp99 ms\t\tp99.9 ms\terrors\tpeak\tmade\thits\tLRU\tBelady\tof limit", func(row func(...any)) {
		for _, s := range r.Strategies {
			if s.Skipped != "" {
				continue
			}
			limit := "-"
			if s.LimitShare != nil {
				limit = fmt.Sprintf("%.2f", s.LimitShare.Median)
			}
			row("  "+s.Name, count(s.RequestsPerSecond.Median), counts(s.RequestsPerSecond),
				milliseconds(s.P50Ms.Median), milliseconds(s.P99Ms.Median), msRange(s.P99Ms), milliseconds(s.P999Ms.Median),
				figures.Grouped(s.Failed), s.PeakBackends, count(s.ConnectionsMade.Median),
				percent(s.HitRatio.Median), percent(s.LRUHitRatio.Median), percent(s.BeladyHitRatio.Median), limit)
		}
	})
	r.writeQuiet(text)
	fmt.Fprintln(text)
	for _, s := range r.Strategies {
		if s.Skipped != "" {
			fmt.Fprintf(text, "  %s had no turn: %s\n", s.Name, s.Skipped)
		}
		for _, kind := range slices.Sorted(maps.Keys(s.Errors)) {
			fmt.Fprintf(text, "  %s: failed requests (%s): %s, such as: %s\n", s.Name, kind, figures.Grouped(s.Errors[kind]), s.ErrorExamples[kind])
		}
	}
	if r.DialsPerSecond.Median > 0 {
		fmt.Fprintf(text, "  dial capacity: %s connections/s %s\n", count(r.DialsPerSecond.Median), counts(r.DialsPerSecond))
	}
	r.writeTargets(text)
}

func (r Report) title() string {
	return fmt.Sprintf("%s: %s workspaces, %s", r.Workload, figures.Grouped(r.Workspaces), r.What)
}

func (r Report) writeQuiet(text *bytes.Buffer) {
	if !slices.ContainsFunc(r.Strategies, func(s StrategyReport) bool { return s.Quiet != nil }) {
		return
	}
	fmt.Fprint(text, "\n  The quiet workspaces, with the noise and without it (PgBouncer's clients wait for it in the query, not in the acquire), ms:\n\n")
	table(text, "  strategy\tp99\twithout\tratio\t\tacquire p50\twithout\tacquire p99\twithout", func(row func(...any)) {
		for _, s := range r.Strategies {
			if q := s.Quiet; q != nil {
				row("  "+s.Name, milliseconds(q.P99Ms.Median), milliseconds(q.AloneP99Ms.Median), ratio(q.P99Ratio.Median), ratioRange(q.P99Ratio),
					milliseconds(q.AcquireP50Ms.Median), milliseconds(q.AloneAcquireP50Ms.Median), milliseconds(q.AcquireP99Ms.Median), milliseconds(q.AloneAcquireP99Ms.Median))
			}
		}
	})
}

func (r Report) writeTargets(text *bytes.Buffer) {
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprintln(text)
	table(text, "  target\t\t\tis\t\t", func(row func(...any)) {
		for _, t := range r.Targets {
			want, verdict := "", "met"
			if t.AtLeast != nil {
				want = "at least " + ratio(*t.AtLeast)
			} else if t.AtMost != nil {
				want = "at most " + ratio(*t.AtMost)
			}
			if !t.Met {
				verdict = "NOT MET"
			}
			row("  "+t.What, want, "", ratio(t.Value.Median), ratioRange(t.Value), verdict)
		}
	})
}

// table aligns rows of cells.
func table(text *bytes.Buffer, header string, rows func(row func(...any))) {
	var aligned bytes.Buffer
	w := tabwriter.NewWriter(&aligned, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, header)
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	_ = w.Flush() // a buffer takes everything
	for l := range bytes.Lines(aligned.Bytes()) {
		text.Write(bytes.TrimRight(l, " \n"))
		text.WriteByte('\n')
	}
}

// line is a turn in one line.
func line(name string, f *turnFigures) string {
	return fmt.Sprintf("%-10s %8s requests/s, p99 %s, %s failed", name, count(f.perSecond), figures.Milliseconds(f.p99), figures.Grouped(f.failed()))
}

func count(v float64) string   { return figures.Grouped(uint64(v + 0.5)) }
func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
func ratio(v float64) string   { return fmt.Sprintf("%.4g", v) }

func counts(s Spread) string     { return between(s, count) }
func msRange(s Spread) string    { return between(s, milliseconds) }
func ratioRange(s Spread) string { return between(s, ratio) }

func between(s Spread, format func(float64) string) string {
	return "(" + format(s.Min) + ".." + format(s.Max) + ")"
}
