package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tenantpool/tenantpool/model"
)

// Popularity picks one of n, the first more often than the second and so on:
// the k-th (from 1) with a probability proportional to 1/k^s, which is Zipf's
// law for s near 1 and uniform for 0. rand.Zipf cannot do s <= 1.
type Popularity struct {
	cumulative []float64 // the probability of an index up to this one
}

// NewPopularity is a popularity of n, at least 1, with the exponent s, at least 0.
func NewPopularity(n int, s float64) Popularity {
	cumulative := make([]float64, n)
	total := 0.0
	for i := range cumulative {
		total += math.Pow(float64(i+1), -s)
		cumulative[i] = total
	}
	for i := range cumulative {
		cumulative[i] /= total
	}
	return Popularity{cumulative}
}

// Pick returns an index. Many goroutines may pick, each with its own rng.
func (p Popularity) Pick(rng *rand.Rand) int {
	u := rng.Float64() // below 1, which is the last element exactly
	return sort.Search(len(p.cumulative), func(i int) bool { return p.cumulative[i] > u })
}

// Histogram keeps times in microseconds, with three digits. It serves one
// goroutine at a time.
type Histogram struct{ counts *hdrhistogram.Histogram }

// longest is what no request takes.
const longest = 5 * time.Minute

// NewHistogram is empty.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Add counts a time.
func (h Histogram) Add(d time.Duration) {
	_ = h.counts.RecordValue(min(d, longest).Microseconds()) // it is in range
}

// Milliseconds is the time that so many percent did not exceed; 0 for none.
func (h Histogram) Milliseconds(percent float64) float64 {
	return float64(h.counts.ValueAtPercentile(percent)) / 1000
}

func (h Histogram) merge(other Histogram) { h.counts.Merge(other.counts) }

// MarshalJSON has all that UnmarshalJSON needs.
func (h Histogram) MarshalJSON() ([]byte, error) { return json.Marshal(h.counts.Export()) }

// UnmarshalJSON reads what another process has counted.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var all hdrhistogram.Snapshot
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	h.counts = hdrhistogram.Import(&all)
	return nil
}

// ErrWrongWorkspace is what must never happen.
var ErrWrongWorkspace = errors.New("the connection reaches another workspace's database")

// What an error is called that has no SQLSTATE, and one that was meant to be.
const (
	Cancelled      = "cancelled"
	WrongWorkspace = "wrong_workspace"
	LimitReached   = "limit"
	DialFailed     = "dial"
	TimedOut       = "timeout"
	PoolClosed     = "pool_closed"
	OtherFailure   = "other"
)

// KindOf sorts a request's error. What the server said comes before what the
// pool made of it; what wraps a context's end may be about more than that, so it is
// asked late.
func KindOf(err error) string {
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	switch {
	case errors.Is(err, ErrWrongWorkspace):
		return WrongWorkspace
	case sqlState(err) != "":
		return sqlState(err)
	case errors.As(err, &limit):
		return LimitReached
	case errors.As(err, &dial), errors.Is(err, model.ErrDialing):
		return DialFailed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, model.ErrAcquireTimeout):
		return TimedOut
	case err.Error() == "sql: database is closed": // database/sql does not export it
		return PoolClosed
	}
	return OtherFailure
}

// Failures are the requests that did not go well. Errors are by SQLSTATE or by a name;
// ErrorExamples has one of each kind that should not be.
type Failures struct {
	Errors        map[string]uint64 `json:"errors"`
	ErrorExamples map[string]string `json:"errorExamples,omitempty"`
}

// NewFailures are none.
func NewFailures() Failures {
	return Failures{Errors: map[string]uint64{}, ErrorExamples: map[string]string{}}
}

// Note counts an error of that kind.
func (f Failures) Note(kind string, err error) {
	f.Errors[kind]++
	if _, known := f.ErrorExamples[kind]; !known && kind != Cancelled {
		f.ErrorExamples[kind] = err.Error()
	}
}

// Add counts those of another one, too.
func (f Failures) Add(other Failures) {
	for kind, n := range other.Errors {
		f.Errors[kind] += n
	}
	maps.Copy(f.ErrorExamples, other.ErrorExamples)
}

// Total is how many there are.
func (f Failures) Total() (n uint64) {
	for _, of := range f.Errors {
		n += of
	}
	return n
}

// sqlState is the server's code for an error, or empty.
func sqlState(err error) string {
	var server interface{ SQLState() string }
	if errors.As(err, &server) {
		return server.SQLState()
	}
	return ""
}

// Pause ends early when ctx is done.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// english writes figures like 12,000.
var english = message.NewPrinter(language.English)

// Grouped is 1234567 as 1,234,567.
func Grouped[T int | uint64](n T) string { return english.Sprint(n) }

// Milliseconds writes three digits, and no exponent.
func Milliseconds(ms float64) string {
	switch {
	case ms >= 100:
		return english.Sprintf("%.0f", ms)
	case ms >= 0.001:
		return fmt.Sprintf("%.3g", ms)
	}
	return "<0.001"
}
