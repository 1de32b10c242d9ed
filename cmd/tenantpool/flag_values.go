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

// length is a flag of a duration.
type length struct {
	value *time.Duration
	least time.Duration
	must  string // what it must be
}

func (l length) String() string { return deref(l.value).String() }
func (l length) Type() string   { return "duration" }

func (l length) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v < l.least {
		return fmt.Errorf("it must be %s", l.must)
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

// choices is a flag with some of a few possible values, or all.
type choices struct {
	value    *[]string
	accepted []string
}

func (c choices) String() string {
	if names := deref(c.value); len(names) < len(c.accepted) {
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

// deref allows for nil: the flag package calls String on the zero value of each type.
func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
