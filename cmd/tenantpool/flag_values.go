package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// setting is a flag or a variable whose value checks itself, so that the command line,
// or the environment, is refused as a whole before anything is started. cobra adds the
// flag's name and the value, fromEnv the variable's.
type setting[T any] struct {
	value      *T
	kind, must string // what it is, and what its value must be
	parse      func(string) (T, error)
	good       func(T) bool
}

func (s setting[T]) String() string { return fmt.Sprint(*s.value) }
func (s setting[T]) Type() string   { return s.kind }

func (s setting[T]) Set(text string) error {
	v, err := s.parse(text)
	if err != nil || !s.good(v) {
		return fmt.Errorf("it must be %s", s.must)
	}
	*s.value = v
	return nil
}

// fromEnv leaves the default where nothing is set.
func fromEnv(variable string, v pflag.Value) error {
	given := os.Getenv(variable)
	if given == "" {
		return nil
	}
	if err := v.Set(given); err != nil {
		return fmt.Errorf("%s is %q: %w", variable, given, err)
	}
	return nil
}

func wholeNumber(value *int, low, high int) pflag.Value {
	return setting[int]{value, "number", fmt.Sprintf("a whole number from %d to %d", low, high), strconv.Atoi,
		func(n int) bool { return n >= low && n <= high }}
}

func exponent(value *float64) pflag.Value {
	return setting[float64]{value, "number", "a number of 0 or more, such as 1.2",
		func(s string) (float64, error) { return strconv.ParseFloat(s, 64) },
		func(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }}
}

// requestRate is bounded, as all requests of a bench are drawn before it begins.
func requestRate(value *float64) pflag.Value {
	const most = 100_000
	return setting[float64]{value, "number", fmt.Sprintf("a number above 0, up to %d, such as 120", most),
		func(s string) (float64, error) { return strconv.ParseFloat(s, 64) },
		func(v float64) bool { return v > 0 && v <= most }}
}

func duration(value *time.Duration, low, high time.Duration, must string) pflag.Value {
	return setting[time.Duration]{value, "duration", must, time.ParseDuration,
		func(d time.Duration) bool { return d >= low && d <= high }}
}

// endless is a duration's bound that is none.
const endless time.Duration = math.MaxInt64

func choice(value *string, accepted ...string) pflag.Value {
	return setting[string]{value, strings.Join(accepted, "|"), strings.Join(accepted, " or "),
		func(s string) (string, error) { return s, nil },
		func(s string) bool { return slices.Contains(accepted, s) }}
}

// choices is a flag with some of a few possible values, or all.
type choices struct {
	value    *[]string
	accepted []string
}

func (c choices) String() string {
	if names := *c.value; len(names) < len(c.accepted) {
		return strings.Join(names, ",")
	}
	return "all"
}

func (c choices) Type() string { return "LIST" }

func (c choices) Set(s string) error {
	if s == "all" {
		*c.value = c.accepted
		return nil
	}
	names := strings.Split(s, ",")
	for _, name := range names {
		if !slices.Contains(c.accepted, name) {
			return fmt.Errorf("there is no %q: it must be all, or some of %s", name, strings.Join(c.accepted, ","))
		}
	}
	*c.value = names
	return nil
}
