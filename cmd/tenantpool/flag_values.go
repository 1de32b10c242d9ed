package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The flags' values check themselves, so that the command line is refused as a
// whole before anything is started. cobra adds the flag's name and the value.

// wholeNumber is a flag from low to high.
type wholeNumber struct {
	value     *int
	low, high int
}

func (n wholeNumber) String() string { return strconv.Itoa(deref(n.value)) }
func (n wholeNumber) Type() string   { return "number" }

func (n wholeNumber) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < n.low || v > n.high {
		return fmt.Errorf("it must be a whole number from %d to %d", n.low, n.high)
	}
	*n.value = v
	return nil
}

// exponent is a flag of 0 or more.
type exponent struct{ value *float64 }

func (e exponent) String() string { return strconv.FormatFloat(deref(e.value), 'g', -1, 64) }
func (e exponent) Type() string   { return "number" }

func (e exponent) Set(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		return fmt.Errorf("it must be a number of 0 or more, such as 1.2")
	}
	*e.value = v
	return nil
}

// length is a flag of a duration, 0 for no end.
type length struct{ value *time.Duration }

func (l length) String() string { return deref(l.value).String() }
func (l length) Type() string   { return "duration" }

func (l length) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("it must be 0 (until interrupted) or a positive duration, such as 30s or 5m")
	}
	*l.value = v
	return nil
}

// choice is a flag with a few possible values.
type choice struct {
	value    *string
	accepted []string
}

func (c choice) String() string { return deref(c.value) }
func (c choice) Type() string   { return strings.Join(c.accepted, "|") }

func (c choice) Set(s string) error {
	if !slices.Contains(c.accepted, s) {
		return fmt.Errorf("it must be %s", strings.Join(c.accepted, " or "))
	}
	*c.value = s
	return nil
}

// deref allows for nil: the flag package calls String on the zero value of each type.
func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
