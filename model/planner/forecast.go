package planner

import (
	"math"
	"slices"
	"time"
)

const (
	// fewestPoints is how many minutes a trend takes.
	fewestPoints = 15
	// furthestAhead is how many times the observed time a trend is followed: an hour of it
	// for a day.
	furthestAhead = 24
	// confidence is the normal quantile of a two-sided interval of 99 %, and widest how far its
	// ends may be from the slope. Traffic without a trend has an interval with 0 in it, and so have
	// a step and a few teeth of a saw.
	confidence = 2.576
	widest     = 0.2
	// parts is how many parts of the time must each lie on the line, to farOff of its rise: a
	// rise that has ended does not, nor does one that has followed on a fall.
	parts  = 6
	farOff = 0.08
)

// point is how many slots were busy on average in the minute around a time.
type point struct{ minutes, busy float64 }

// fullIn is how long after now the budget is all busy if the trend of the points, which ascend in
// time, goes on. It is 0 if it is by now.
//
// The trend is the median of the slopes between any two points (Theil 1950; Sen: Estimates
// of the Regression Coefficient Based on Kendall's Tau, 1968), which a third of odd points does not
// move. It is believed if Sen's confidence interval, by the variance of Mann's and Kendall's
// test, is narrow, and no part of the points lies off the line. From an hour nobody can tell
// whether the rise is the morning's.
func fullIn(points []point, now time.Duration, budget int) (ahead time.Duration, ok bool) {
	if len(points) < fewestPoints || budget <= 0 {
		return 0, false
	}
	slope, low, high := theilSen(points)
	if slope <= 0 || low < slope*(1-widest) || high > slope*(1+widest) {
		return 0, false
	}
	at := make([]float64, len(points))
	for i, p := range points {
		at[i] = p.busy + slope*(now.Minutes()-p.minutes)
	}
	reached := medianOf(at)
	rise := slope * (points[len(points)-1].minutes - points[0].minutes)
	for i := range parts {
		part := at[len(at)*i/parts : len(at)*(i+1)/parts]
		if math.Abs(medianOf(part)-reached) > farOff*rise {
			return 0, false
		}
	}
	minutes := max(0, (float64(budget)-reached)/slope)
	if minutes > furthestAhead*float64(len(points)) {
		return 0, false
	}
	return time.Duration(minutes * float64(time.Minute)), true
}

// theilSen is the median of all slopes between two points, by the minute, and the ends of
// its confidence interval.
func theilSen(points []point) (slope, low, high float64) {
	slopes := make([]float64, 0, len(points)*(len(points)-1)/2)
	for i, p := range points {
		for _, q := range points[i+1:] {
			slopes = append(slopes, (q.busy-p.busy)/(q.minutes-p.minutes))
		}
	}
	slices.Sort(slopes)
	n := float64(len(points))
	half := confidence * math.Sqrt(n*(n-1)*(2*n+5)/18) / 2
	middle := float64(len(slopes)-1) / 2
	first := max(0, int(math.Floor(middle-half)))
	last := min(len(slopes)-1, int(math.Ceil(middle+half)))
	return median(slopes), slopes[first], slopes[last]
}

// medianOf leaves the numbers as they are; median is that of sorted ones.
func medianOf(numbers []float64) float64 { return median(slices.Sorted(slices.Values(numbers))) }

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
