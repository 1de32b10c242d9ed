package bench

import (
	"slices"
	"time"
)

// Options are what a run is to compare, and how.
type Options struct {
	Workloads  []string // of Workloads
	Strategies []string // of Strategies
	// Workspaces is how many there are in the workloads that do not fit.
	Workspaces int
	// Budget is tenantpool's DB_MAX_CONNECTIONS, the system database's share
	// included; the throwaway server grants exactly that. Cap is how many of them
	// one workspace may have.
	Budget, Cap int
	// Workers is how many requests are under way at once. Each worker pauses for
	// Think between two requests.
	Workers int
	Think   time.Duration
	Query   string
	// For is how long a turn of a strategy is measured, after a warm-up.
	For    time.Duration
	Rounds int
	Seed   uint64
	// DSN is the server; empty: a throwaway one.
	DSN string
}

// Default is a run of all workloads with all strategies.
func Default() Options {
	return Options{
		Workloads:  Workloads(),
		Strategies: Strategies(),
		Workspaces: 200,
		Budget:     100,
		Cap:        3,
		Workers:    64,
		Query:      "select 1",
		For:        5 * time.Second,
		Rounds:     3,
		Seed:       1,
	}
}

// warmUp is how long a turn lasts before it is measured: every strategy begins
// without a connection, and opening the first ones is not what is compared.
func (o Options) warmUp() time.Duration { return o.For / 3 }

// Terminal is where a run tells how far it is.
type Terminal struct {
	// Println prints a line. Show replaces the last line for the moment; an empty
	// one removes it.
	Println, Show func(line string)
	// Progress counts up to n until the channel is closed.
	Progress func(what string, n int, done <-chan struct{})
}

// chosen are those of all that were asked for, in the order of all.
func chosen[T interface{ label() string }](all []T, names []string) (found []T) {
	for _, one := range all {
		if slices.Contains(names, one.label()) {
			found = append(found, one)
		}
	}
	return found
}
