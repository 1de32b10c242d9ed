// Package figures is how the program writes figures for people.
package figures

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Grouped is 1234567 as 1,234,567.
func Grouped[T int | uint64](n T) string {
	digits := strconv.FormatUint(uint64(n), 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// Compact has at most 6 characters: 99,999 then 100k, 1.2M.
func Compact(n uint64) string {
	switch {
	case n < 100_000:
		return Grouped(n)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
}

// Clock is 0:07, 12:34, 1:02:03.
func Clock(d time.Duration) string {
	s := int(d.Seconds())
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Roundly is a time to a tenth of a second.
func Roundly(seconds float64) string { return fmt.Sprintf("%.1f s", seconds) }

// Milliseconds has about three digits that count.
func Milliseconds(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

// Rounded drops digits that mean nothing.
func Rounded(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}
