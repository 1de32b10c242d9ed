package bench

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// measured is what three rounds of two strategies came to.
func measured() *measurement {
	round := func(perSecond, p99 float64, made uint64) *turn {
		return &turn{
			Figures: Figures[float64]{
				RequestsPerSecond: perSecond, P50Ms: 2, P99Ms: p99, P999Ms: 2 * p99, P99OverP50: p99 / 2, QuietP99Ms: p99 + 5,
				ConnectionsMade: float64(made), HitRatio: 0.9, LRUHitRatio: 0.895, BeladyHitRatio: 0.95,
			},
			noise: Quiet[float64]{
				P99Ms: p99, AcquireP50Ms: 0.5, AcquireP99Ms: 3, AloneP99Ms: 20, AloneAcquireP50Ms: 0.25, AloneAcquireP99Ms: 1, P99Ratio: p99 / 20,
			},
			requests: 1000, peak: 91, measuredLRU: 0.9,
			Failures: stage.NewFailures(),
		}
	}
	refused := round(500, 90, 50)
	refused.Errors["53300"], refused.ErrorExamples["53300"] = 7, "sorry, too many clients already"
	refused.Errors["timeout"], refused.ErrorExamples["timeout"] = 2, "it took too long"
	return &measurement{
		strategies: []string{"tenantpool", "pgxpools", "pgbouncer"},
		turns: map[string][]*turn{
			"tenantpool": {round(1000, 30, 100), round(3000, 50, 300), round(2000, 40, 200)},
			"pgxpools":   {round(400, 80, 40), refused, round(600, 100, 60)},
		},
		skipped: map[string]string{"pgbouncer": "PgBouncer is not installed"},
		dials:   []float64{200, 400, 300},
	}
}

func fixedResult() *Result {
	result := newResult(Default())
	for _, w := range Workloads()[1:2] {
		result.Workloads = append(result.Workloads, measured().report(Default(), w))
	}
	return result
}

func TestTheTextReport(t *testing.T) {
	var text strings.Builder
	if err := fixedResult().WriteText(&text); err != nil {
		t.Fatal(err)
	}
	const want = `64 workers, "select 1", 3 x 5 s for each strategy, seed 1: medians (min..max)
90 connections for the workspaces of tenantpool, PgBouncer, pgpool-II and the LRU of pools, at most 3 each;
connect and pgxpools may have all 100 that the server grants

zipf: 200 workspaces, the k-th asked for 1/k^1.2 as often as the first

  strategy    requests/s                  p50 ms  p99 ms              p99/p50  p99.9 ms  quiet p99  failed  refused  peak  made  hits    LRU     Belady  of limit
  tenantpool  2,000       (1,000..3,000)  2       40      (30..50)    20.0     80        45         0       0        91    200   90.0 %  89.5 %  95.0 %  0.67
  pgxpools    500         (400..600)      2       90      (80..100)   45.0     180       95         9       7        91    50    90.0 %  89.5 %  95.0 %  -

  pgxpools: failed requests (53300): 7, such as: sorry, too many clients already
  pgxpools: failed requests (timeout): 2, such as: it took too long
  pgbouncer had no turn: PgBouncer is not installed
  dial capacity: 300 connections/s (200..400)

  target                                                      is
  share of the limit reached by tenantpool  at least 0.9      0.6667  (0.5..0.75)      NOT MET
  hit ratio of tenantpool - an exact LRU's  at least -0.01    0.005   (0.005..0.005)  met
  errors of tenantpool in a round           at most 0         0       (0..0)          met
`
	if got := squeezed(text.String()); got != squeezed(want) {
		t.Errorf("the report is\n%s\nwant\n%s", text.String(), want)
	}
}

// squeezed leaves out how wide the columns are.
func squeezed(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestTheQuietWorkspacesAreReported(t *testing.T) {
	r := measured().report(Default(), Workloads()[4])
	var text strings.Builder
	if err := (&Result{Workloads: []Report{r}}).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n tenantpool 40 20 2 (1.5..2.5) 0.5 0.25 3 1\n",
		"\n p99 of the quiet workspaces, with the noise / without at most 2 2 (1.5..2.5) met\n",
	} {
		if !strings.Contains(strings.ReplaceAll("\n"+squeezed(text.String()), "\n", "\n "), want) {
			t.Errorf("the report lacks %q:\n%s", want, &text)
		}
	}
}

func TestTheJSONReportIsOneObject(t *testing.T) {
	var out strings.Builder
	if err := fixedResult().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("it has more than one line:\n%s", &out)
	}
	var got struct {
		Budget, WorkspaceBudget, Cap, Workers, Rounds int
		Query                                         string
		Workloads                                     []struct {
			Workload       string
			DialsPerSecond Spread
			Strategies     []struct {
				Name, Skipped                                                  string
				RequestsPerSecond, P50Ms, P99Ms, P999Ms, HitRatio, LRUHitRatio Spread
				BeladyHitRatio, ConnectionsMade                                Spread
				LimitShare                                                     *Spread
				Quiet                                                          *Quiet[Spread]
				Requests, Failed, Refused                                      int
				Errors                                                         map[string]int
				PeakBackends                                                   int
			}
			Targets []struct {
				What            string
				AtLeast, AtMost *float64
				Met             bool
			}
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Budget != 100 || got.WorkspaceBudget != 90 || got.Cap != 3 || got.Workers != 64 || got.Rounds != 3 || got.Query != "select 1" {
		t.Errorf("%+v", got)
	}
	zipf := got.Workloads[0]
	own, pools, bouncer := zipf.Strategies[0], zipf.Strategies[1], zipf.Strategies[2]
	if zipf.Workload != "zipf" || zipf.DialsPerSecond != (Spread{300, 200, 400}) {
		t.Errorf("%s, %v dials/s", zipf.Workload, zipf.DialsPerSecond)
	}
	if own.RequestsPerSecond != (Spread{2000, 1000, 3000}) || own.P99Ms != (Spread{40, 30, 50}) || own.P999Ms != (Spread{80, 60, 100}) ||
		own.ConnectionsMade != (Spread{200, 100, 300}) || own.HitRatio.Median != 0.9 || own.LRUHitRatio.Median != 0.895 ||
		own.BeladyHitRatio.Median != 0.95 || own.Requests != 3000 || own.PeakBackends != 91 || own.Quiet != nil || own.LimitShare == nil {
		t.Errorf("%+v", own)
	}
	if pools.LimitShare != nil || pools.Failed != 9 || pools.Refused != 7 || pools.Errors["timeout"] != 2 {
		t.Errorf("%+v", pools)
	}
	if bouncer.Name != "pgbouncer" || bouncer.Skipped == "" {
		t.Errorf("%+v", bouncer)
	}
	if len(zipf.Targets) != 3 || zipf.Targets[0].Met || *zipf.Targets[0].AtLeast != 0.9 || zipf.Targets[0].AtMost != nil {
		t.Errorf("%+v", zipf.Targets)
	}
}

// A ratio is of two figures of the same round: 1000/400, 3000/500 and 2000/600.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	m := measured()
	m.turns["pgbouncer"] = m.turns["pgxpools"]
	for _, target := range m.report(Default(), Workloads()[1]).Targets {
		switch target.What {
		case "requests/s, tenantpool / pgbouncer":
			if v := target.Value; v.Min != 2.5 || math.Abs(v.Median-10./3) > 1e-9 || v.Max != 6 || target.Met {
				t.Errorf("%+v", target)
			}
			return
		}
	}
	t.Error("there is no such target")
}

func TestTheMedianOfAnEvenNumberIsBetweenTheMiddleTwo(t *testing.T) {
	if s := spreadOf([]float64{4, 1, 3, 2}); s != (Spread{2.5, 1, 4}) {
		t.Errorf("%+v", s)
	}
	if s := spreadOf(nil); s != (Spread{}) {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestTheVerdictIsAboutWrongDatabasesOnly(t *testing.T) {
	r := fixedResult()
	if err := r.Verdict(); err != nil {
		t.Errorf("refused requests and missed targets are no bug: %v", err)
	}
	r.Workloads[0].Strategies[0].WrongAnswers = 2
	if err := r.Verdict(); err == nil || !strings.Contains(err.Error(), "zipf, tenantpool: 2") {
		t.Error(err)
	}
}
