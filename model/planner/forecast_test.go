package planner

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// hour is what is busy of 100 slots in each of some minutes, with noise.
func hour(minutes int, busy func(minute float64) float64, noise func() float64) []point {
	points := make([]point, minutes)
	for i := range points {
		at := float64(i) + 0.5
		points[i] = point{minutes: at, busy: min(100, max(0, busy(at)+noise()))}
	}
	return points
}

func forecast(points []point) (minutes float64, ok bool) {
	ahead, ok := fullIn(points, time.Duration(len(points))*time.Minute, 100)
	return ahead.Minutes(), ok
}

// noises are those that traffic without a trend has.
func noises(r *rand.Rand) map[string]func() float64 {
	correlated := func(phi, spread float64) func() float64 {
		last := r.NormFloat64() * spread
		return func() float64 {
			last = phi*last + math.Sqrt(1-phi*phi)*spread*r.NormFloat64()
			return last
		}
	}
	return map[string]func() float64{
		"none":            func() float64 { return 0 },
		"a little":        func() float64 { return r.NormFloat64() },
		"much":            func() float64 { return 10 * r.NormFloat64() },
		"with outliers":   func() float64 { return r.NormFloat64() * math.Exp(r.NormFloat64()) * 3 },
		"of minutes":      correlated(0.5, 5),
		"of ten minutes":  correlated(0.9, 5),
		"of half an hour": correlated(0.97, 5),
	}
}

// falseForecasts is how many of some seeds have a forecast.
func falseForecasts(seeds uint64, minutes int, busy func(minute float64) float64, noise string) (n uint64) {
	for seed := range seeds {
		points := hour(minutes, busy, noises(rand.New(rand.NewPCG(seed, uint64(minutes))))[noise])
		if _, ok := forecast(points); ok {
			n++
		}
	}
	return n
}

func TestNoiseIsNoTrend(t *testing.T) {
	for _, minutes := range []int{15, 30, 60} {
		for noise, atMost := range map[string]uint64{
			"none": 0, "a little": 0, "much": 0, "with outliers": 0, "of minutes": 3, "of ten minutes": 6,
			"of half an hour": 24, // in an hour that is a trend, now and then
		} {
			const seeds = 600
			n := falseForecasts(seeds, minutes, func(float64) float64 { return 60 }, noise)
			if n > atMost {
				t.Errorf("noise %s in %d minutes: %d of %d have a forecast", noise, minutes, n, seeds)
			}
		}
	}
}

// None of these goes on as a line, however far it has risen.
func TestTrafficThatRisesAndFallsIsNoTrend(t *testing.T) {
	shapes := map[string]func(minute float64) float64{
		"full":                       func(float64) float64 { return 100 },
		"idle":                       func(float64) float64 { return 0 },
		"a fall":                     func(at float64) float64 { return 80 - at },
		"a rise that has ended":      func(at float64) float64 { return 20 + min(at, 42) },
		"a rise that has just begun": func(at float64) float64 { return 20 + max(0, at-45) },
		"a peak":                     func(at float64) float64 { return 70 - math.Abs(at-40) },
	}
	for _, at := range []float64{10, 20, 30, 40, 50, 55} {
		shapes["a step at "+strconv.Itoa(int(at))] = func(minute float64) float64 {
			if minute < at {
				return 30
			}
			return 70
		}
	}
	for _, period := range []float64{3, 7, 15, 20, 30, 40, 50, 60} {
		for _, phase := range []float64{0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875} {
			name := fmt.Sprintf("of %v minutes from %v", period, phase)
			at := func(minute float64) float64 { _, f := math.Modf(minute/period + phase); return f }
			shapes["a sine "+name] = func(minute float64) float64 { return 50 + 30*math.Sin(2*math.Pi*at(minute)) }
			if period < 60 || phase > 0 { // else it is a ramp
				shapes["a saw "+name] = func(minute float64) float64 { return 20 + 60*at(minute) }
			}
		}
	}
	for name, shape := range shapes {
		for noise, atMost := range map[string]uint64{"none": 0, "a little": 0, "of minutes": 1} {
			if n := falseForecasts(20, 60, shape, noise); n > atMost {
				t.Errorf("%s, noise %s: %d of 20 have a forecast", name, noise, n)
			}
		}
	}
}

func TestALineIsFollowedToTheLimit(t *testing.T) {
	for _, c := range []struct {
		minutes     int
		start, rise float64 // by the minute
		noise       string
		atLeast     int // percent that have a forecast
	}{
		{60, 20, 0.5, "none", 100},
		{15, 20, 0.5, "none", 100},
		{60, 20, 0.5, "a little", 100},
		{60, 5, 0.7, "of minutes", 30},
		{60, 30, 0.2, "a little", 60},
		{60, 20, 0.06, "none", 100}, // in twenty hours
		{20, 30, 2, "a little", 90},
	} {
		found, far := 0, 0
		truth := (100-c.start)/c.rise - float64(c.minutes)
		for seed := range uint64(200) {
			noise := noises(rand.New(rand.NewPCG(seed, 1)))[c.noise]
			got, ok := forecast(hour(c.minutes, func(at float64) float64 { return c.start + c.rise*at }, noise))
			if !ok {
				continue
			}
			found++
			if math.Abs(got-truth) > 0.2*truth {
				far++
			}
		}
		if found*100 < c.atLeast*200 || far*20 > found {
			t.Errorf("%+v: %d of 200 have a forecast, %d are off by more than a fifth of %.0f minutes", c, found, far, truth)
		}
	}
}

func TestALimitThatIsFurtherThanADayIsNotForecast(t *testing.T) {
	still := func() float64 { return 0 }
	if minutes, ok := forecast(hour(60, func(at float64) float64 { return 20 + 0.05*at }, still)); ok {
		t.Errorf("in %v minutes", minutes)
	}
	// A quarter of an hour says nothing of what is in ten hours.
	if minutes, ok := forecast(hour(15, func(at float64) float64 { return 20 + 0.1*at }, still)); ok {
		t.Errorf("in %v minutes", minutes)
	}
	if _, ok := forecast(hour(14, func(at float64) float64 { return 20 + at }, still)); ok {
		t.Error("made of 14 minutes")
	}
}

func TestALineThatHasReachedTheLimitIsThere(t *testing.T) {
	if minutes, ok := forecast(hour(60, func(at float64) float64 { return 45 + at }, func() float64 { return 0 })); !ok || minutes != 0 {
		t.Errorf("in %v minutes, %v", minutes, ok)
	}
}

// Of a Load: by the minute, with one missing now and then, at the clock on the wall.
func TestALoadForecasts(t *testing.T) {
	f := feeder{t: t}
	for minute := range 50 {
		if minute%7 == 3 {
			f.now += time.Minute
			continue
		}
		f.feed(time.Minute, 100, 20+minute)
	}
	in := f.utilisation().FullAt.Sub(noon)
	if truth := 30 * time.Minute; in < truth-2*time.Minute || in > truth+2*time.Minute {
		t.Fatalf("in %v, not %v", in, truth)
	}
}
