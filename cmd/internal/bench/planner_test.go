package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

func TestArrivalsComeAsOftenAsTheyShould(t *testing.T) {
	const workspaces, rate, long = 50, 200.0, 100 * time.Second
	for _, trace := range Traces() {
		all := trace.Arrivals(1, workspaces, func(time.Duration) float64 { return rate }, 50*time.Millisecond, long)
		if n := float64(len(all)) / long.Seconds(); math.Abs(n-rate) > 0.1*rate {
			t.Errorf("%s: %.0f a second", trace.Name, n)
		}
		first, held, last := 0, time.Duration(0), time.Duration(0)
		for _, a := range all {
			if a.At < last || a.At >= long || a.Workspace < 0 || a.Workspace >= workspaces || a.Held < 0 {
				t.Fatalf("%s: %+v after %v", trace.Name, a, last)
			}
			last = a.At
			held += a.Held
			if a.Workspace == 0 {
				first++
			}
		}
		if mean := held / time.Duration(len(all)); mean < 47*time.Millisecond || mean > 53*time.Millisecond {
			t.Errorf("%s: held for %v", trace.Name, mean)
		}
		if part := float64(first) / float64(len(all)); trace.Name == "noisy" && math.Abs(part-0.5) > 0.02 {
			t.Errorf("%.2f of the requests are the noisy one's", part)
		}
		again := trace.Arrivals(1, workspaces, func(time.Duration) float64 { return rate }, 50*time.Millisecond, long)
		if len(again) != len(all) || again[len(all)/2] != all[len(all)/2] {
			t.Errorf("%s: another time there are other requests", trace.Name)
		}
	}
}

func TestASessionStaysInItsWorkspace(t *testing.T) {
	trace := Traces()[3]
	all := trace.Arrivals(1, 1_000_000, func(time.Duration) float64 { return 100 }, time.Millisecond, time.Minute)
	requests := map[int]int{}
	for _, a := range all {
		requests[a.Workspace]++
	}
	whole := 0
	for _, n := range requests {
		if n == 20 {
			whole++
		}
	}
	if whole < len(requests)/2 {
		t.Errorf("%d of %d sessions have 20 requests", whole, len(requests))
	}
}

// It predicts for each pool from each, and what a pool says of itself is near what it did.
func TestThePlannerPredictsWhatOtherPoolsDo(t *testing.T) {
	o := DefaultPlanner()
	o.Traces, o.Budgets, o.Workspaces, o.For = o.Traces[2:3], []int{4, 8}, 10, 3*time.Second
	o.Rate, o.Held = 100, time.Millisecond
	con := stage.StartConsole(t.Output())
	defer con.Stop()
	all, err := Predict(t.Context(), o, con)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		t.Fatalf("%d predictions", len(all))
	}
	// How near they come hangs on what else the machine does in each run. A pool knows itself,
	// and that twice the slots are better.
	for i, p := range all {
		if p.From == p.Budget && math.Abs(p.Measured.HitRatio-p.Predicted.HitRatio) > 0.2 {
			t.Errorf("%+v", p)
		}
		if i%2 == 1 && (p.Predicted.HitRatio <= all[i-1].Predicted.HitRatio || p.Curve <= all[i-1].Curve) {
			t.Errorf("%+v and %+v", all[i-1], p)
		}
	}
}

func TestPredictionsAreATable(t *testing.T) {
	var out bytes.Buffer
	err := WritePredictions(&out, []Prediction{
		{Trace: "zipf", From: 30, Budget: 60, Measured: model.Estimate{HitRatio: 0.5, WaitP99: 12 * time.Millisecond}, Predicted: model.Estimate{HitRatio: 0.51, WaitP99: 10 * time.Millisecond}, Curve: 0.52},
		{Trace: "zipf", From: 60, Budget: 30},
	}, 30)
	if err != nil {
		t.Fatal(err)
	}
	const want = "| zipf  | 60    | 50.0 %        | 51.0 %    | 52.0 %       | 12                | 10        |\n"
	if lines := strings.SplitAfter(out.String(), "\n"); len(lines) != 4 || lines[2] != want {
		t.Errorf("%q", lines)
	}
}

func TestWithoutARequestNothingIsPredicted(t *testing.T) {
	o := DefaultPlanner()
	o.Budgets, o.Workspaces, o.For, o.Rate = []int{4}, 2, time.Second, 1e-6
	con := stage.StartConsole(t.Output())
	defer con.Stop()
	if _, err := Predict(t.Context(), o, con); err == nil || !strings.Contains(err.Error(), "the rate is too low") {
		t.Error(err)
	}
}
