package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/sync/errgroup"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/internal/chart"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// ScalingOptions are a load that triples and falls back, and the bounds of a budget.
type ScalingOptions struct {
	Trace           Trace
	Lowest, Highest int // of DB_AUTO_BUDGET
	Workspaces, Cap int
	// Rate is how many requests come in a second at first and at last, and Held how long each
	// holds its connection.
	Rate float64
	Held time.Duration
	// Before, High and After are how long the load is as at first, three times that, and as at
	// first again.
	Before, High, After time.Duration
	Seed                uint64
	DSN                 string
}

// DefaultScaling takes half an hour: a budget is lowered only after ten calm minutes. So few
// workspaces find their connections open with any of the budgets: what is busy decides.
func DefaultScaling() ScalingOptions {
	return ScalingOptions{
		Trace: Traces()[1], Lowest: 30, Highest: 90, Workspaces: 10, Cap: 20, Rate: 60, Held: 150 * time.Millisecond,
		Before: 2 * time.Minute, High: 2 * time.Minute, After: 22 * time.Minute, Seed: 1,
	}
}

// Scaled is what became of the load with one budget.
type Scaled struct {
	Name string
	// Slots are the workspaces' by the second.
	Slots []int
	// Changes is how often the budget changed, and Turns how often the direction of that did.
	Changes, Turns int
	// ShortOfRoom is which part of the time somebody waited while all slots were taken and none
	// was idle.
	ShortOfRoom      float64
	WaitP99, HighP99 time.Duration // of all, and of those that came while the load was high
	Dials            uint64
	Failed           int
}

// Scale has three pools serve the same load at the same time: with the lowest budget, with
// the highest, and with one that is set automatically. It blocks until they have, or ctx is
// done.
func Scale(ctx context.Context, o ScalingOptions, con *stage.Console) (all []*Scaled, err error) {
	s, err := stage.Set(ctx, stage.Options{Workspaces: o.Workspaces, Budget: 2*o.Highest + o.Lowest, Cap: o.Cap, Workers: 10_000, DSN: o.DSN}, con)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(con)) }()
	rate := func(t time.Duration) float64 {
		if o.Before <= t && t < o.Before+o.High {
			return 3 * o.Rate
		}
		return o.Rate
	}
	arrivals := o.Trace.Arrivals(o.Seed, o.Workspaces, rate, o.Held, o.Before+o.High+o.After)
	var running errgroup.Group
	for _, one := range []struct {
		name, auto string
		budget     int
	}{
		{"automatic", fmt.Sprintf("%d..%d", o.Lowest, o.Highest), o.Lowest}, {"lowest", "", o.Lowest}, {"highest", "", o.Highest},
	} {
		cfg := s.Config
		cfg.MaxConnections, cfg.AutoBudget = one.budget, one.auto
		r := &Scaled{Name: one.name}
		all = append(all, r)
		running.Go(func() error { return r.serve(ctx, s, cfg, con, o, arrivals) })
	}
	return all, running.Wait()
}

func (r *Scaled) serve(ctx context.Context, s *stage.Stage, cfg model.Config, con *stage.Console, o ScalingOptions, arrivals []Arrival) (err error) {
	m, err := pools.Open(ctx, cfg, pools.WithLogger(con.Logger()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end(m)) }()
	watching, stop := context.WithCancel(ctx)
	var watch errgroup.Group
	watch.Go(func() error { return r.watch(watching, m) })
	waits, high := stage.NewHistogram(), stage.NewHistogram()
	err = play(ctx, s, m, arrivals, func(a Arrival, waited time.Duration, err error) {
		if err != nil {
			r.Failed++
			return
		}
		waits.Add(waited)
		if o.Before <= a.At && a.At < o.Before+o.High {
			high.Add(waited)
		}
	}, 0, nil)
	stop()
	err = errors.Join(err, watch.Wait())
	r.WaitP99, r.HighP99 = milliseconds(waits.Milliseconds(99)), milliseconds(high.Milliseconds(99))
	return err
}

// watch looks at the pool five times a second.
func (r *Scaled) watch(ctx context.Context, m *pools.Manager) error {
	const every = 200 * time.Millisecond
	looks, short, direction := 0, 0, 0
	for ; ctx.Err() == nil; stage.Pause(ctx, every) {
		st, err := m.Stats(context.Background())
		if err != nil {
			return err
		}
		w := st.Workspaces
		r.Dials = w.Counters.Dials
		if w.Waiting > w.Dialing && w.Idle == 0 && w.Open() >= w.EffectiveBudget {
			short++
		}
		if looks%int(time.Second/every) == 0 {
			if n := len(r.Slots); n > 0 && r.Slots[n-1] != w.Budget {
				r.Changes++
				up := 1
				if w.Budget < r.Slots[n-1] {
					up = -1
				}
				if direction == -up {
					r.Turns++
				}
				direction = up
			}
			r.Slots = append(r.Slots, w.Budget)
		}
		looks++
		r.ShortOfRoom = float64(short) / float64(looks)
	}
	return nil
}

// WriteScaled writes them as a table in Markdown.
func WriteScaled(out io.Writer, all []*Scaled) error {
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(table, "| budget\t| somebody waits for room\t| p99 wait\t| while the load is high\t| dials\t| failed\t| changes\t| turns\t| slots, mean\t|")
	_, _ = fmt.Fprintln(table, "|---\t|---:\t|---:\t|---:\t|---:\t|---:\t|---:\t|---:\t|---:\t|")
	for _, r := range all {
		sum := 0
		for _, n := range r.Slots {
			sum += n
		}
		_, _ = fmt.Fprintf(table, "| %s\t| %.1f %%\t| %s\t| %s\t| %s\t| %d\t| %d\t| %d\t| %.0f\t|\n", r.Name, 100*r.ShortOfRoom,
			stage.Milliseconds(inMilliseconds(r.WaitP99)), stage.Milliseconds(inMilliseconds(r.HighP99)),
			stage.Grouped(r.Dials), r.Failed, r.Changes, r.Turns, float64(sum)/float64(max(1, len(r.Slots))))
	}
	return table.Flush()
}

// DrawScaled draws the budgets over the time into a file, and shades the time in which the
// load is high.
func DrawScaled(file string, o ScalingOptions, all []*Scaled) error {
	const width, height, margin, header = 880, 320, 14, 48
	heading := fmt.Sprintf("The workspaces' slots under DB_AUTO_BUDGET=%d..%d", o.Lowest, o.Highest)
	svg, err := chart.SVG(width, height, heading, func(c draw.Canvas) error {
		c.FillText(chart.Style(14, font.WeightBold, chart.Ink), vg.Point{X: margin, Y: height - margin - 13}, heading)
		c.FillText(chart.Style(10, font.WeightNormal, chart.Pale), vg.Point{X: margin, Y: height - margin - 31},
			fmt.Sprintf("Minutes on the x axis. Gray: three times the load. Amber: the bounds, each with a pool of its own; blue: automatic. %s.", shares(all)))
		p, err := budgets(o, all)
		if err != nil {
			return err
		}
		p.Draw(chart.Part(c, margin, width-margin, margin, height-margin-header))
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, svg, 0o644)
}

func shares(all []*Scaled) string {
	said := "Somebody waits for room"
	for i, r := range all {
		if i > 0 {
			said += ","
		}
		said += fmt.Sprintf(" %.1f %% of the time (%s)", 100*r.ShortOfRoom, r.Name)
	}
	return said
}

// budgets is the plot.
func budgets(o ScalingOptions, all []*Scaled) (*plot.Plot, error) {
	p, grid := chart.Plot()
	p.Y.Min, p.Y.Max = 0, 1.1*float64(o.Highest)
	from, to := o.Before.Minutes(), (o.Before + o.High).Minutes()
	high, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: 0}, {X: from, Y: p.Y.Max}, {X: to, Y: p.Y.Max}, {X: to, Y: 0}})
	if err != nil {
		return nil, err
	}
	high.Color, high.Width = chart.Lines.Color(), 0
	p.Add(high, grid)
	for i := range all { // the automatic one last, on top
		r := all[len(all)-1-i]
		var line plotter.XYs
		for second, n := range r.Slots {
			line = append(line, plotter.XY{X: time.Duration(second * int(time.Second)).Minutes(), Y: float64(n)})
		}
		drawn, err := plotter.NewLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		drawn.LineStyle = draw.LineStyle{Color: chart.Amber.Color(), Width: 1}
		if r == all[0] {
			drawn.LineStyle = draw.LineStyle{Color: chart.Blue.Color(), Width: 2}
		}
		p.Add(drawn)
	}
	return p, nil
}
