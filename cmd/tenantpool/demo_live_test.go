package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

func TestTheLiveRowFitsUnderItsHeader(t *testing.T) {
	st := model.BudgetStats{Counts: model.Counts{Dialing: 1000, Idle: 10_000, InUse: 10_000, Closing: 1000, Waiting: 99_999}}
	for _, counted := range []uint64{0, 7, 99_999, 100_000, 999_999, 1_000_000, 999_900_000} {
		st.Counters = model.Counters{Hits: counted, Dials: counted}
		st.Counters.Closes[model.MakeRoom] = counted
		row := liveRow(99*time.Hour+59*time.Minute+59*time.Second, float64(counted), st, model.Counters{}, counted)
		if counted == 0 {
			row = liveRow(0, 0, model.BudgetStats{}, model.Counters{}, 0)
			for i, c := range row {
				if c != ' ' && (liveHeader[i] == ' ' || i+1 < len(row) && row[i+1] == ' ' && i+1 < len(liveHeader) && liveHeader[i+1] != ' ') {
					t.Errorf("the figures do not end where the header's words do:\n%s\n%s", liveHeader, row)
					break
				}
			}
		}
		if n := len(strings.Fields(row)); n != 11 {
			t.Errorf("%d columns: %q", n, row)
		}
		if len(row) > 84 || counted < 1_000_000 && len(row) > 81 {
			t.Errorf("the row has %d characters: %q", len(row), row)
		}
	}
	if n := len(liveHeader); n != 77 || len(liveRow(0, 0, model.BudgetStats{}, model.Counters{}, 0)) != n {
		t.Errorf("the header has %d characters", n)
	}
}

func TestRateIsOverTheLastSecond(t *testing.T) {
	var r rate
	r.add(0, 0)
	if r.perSecond() != 0 {
		t.Errorf("%v with nothing known", r.perSecond())
	}
	for i := range 8 {
		at := time.Duration(i+1) * 250 * time.Millisecond
		r.add(at, uint64((i+1)*(i+1)))
		first := max(0, i+1-3)
		want := float64((i+1)*(i+1)-first*first) / (at.Seconds() - float64(first)*0.25)
		if got := r.perSecond(); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %v: %v, want %v", at, got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		stage.Grouped(0):                   "0",
		stage.Grouped(999):                 "999",
		stage.Grouped(1000):                "1,000",
		stage.Grouped(uint64(1234567)):     "1,234,567",
		compact(99_999):                    "99,999",
		compact(100_000):                   "100k",
		compact(1_250_000):                 "1.2M",
		clock(7 * time.Second):             "0:07",
		clock(754 * time.Second):           "12:34",
		clock(time.Hour + 123*time.Second): "1:02:03",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
