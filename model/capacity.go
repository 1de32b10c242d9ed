package model

import "time"

// Capacity says how many connections the traffic of the last minutes needs.
//
// All budgets in it are the workspaces' slots; MaxConnections says what makes them.
type Capacity struct {
	// At is when it was worked out, from the Acquires that were recorded in a Window of time
	// before. Of a busy pool only one in SampledOneIn workspaces is recorded; rates are those
	// of all workspaces.
	At           time.Time
	Window       time.Duration
	Acquires     int
	SampledOneIn int

	// SystemShare is how many connections are not for the workspaces; of a shared budget those
	// of the other processes are among them.
	SystemShare int
	// DefaultShare: it is what Config makes of MaxConnections, and grows with that.
	DefaultShare bool
	// Present is what the pool would do by the estimate with the limits that it has, and
	// Measured what it did. How far they are apart says how good the other estimates are.
	Present, Measured Estimate
	// Estimates are for other budgets and caps, by cap and then by budget, and have Present
	// among them.
	Estimates []Estimate
	// Curve is which part of the acquires finds a connection open at each budget, by the
	// distances of reuse: the second, simpler estimate. The budgets ascend.
	Curve []CurvePoint
	// OtherEviction is Present with the other order of eviction.
	OtherEviction Estimate

	Recommendation Recommendation
}

// MaxConnections is the least Config.MaxConnections with so many slots for the workspaces, or
// the present one if it has as many.
func (c *Capacity) MaxConnections(slots int) int {
	if c.DefaultShare && slots != c.Present.Budget {
		return Config{}.MaxConnectionsFor(slots)
	}
	return slots + c.SystemShare
}

// Estimate is what a pool with these limits does with the recorded traffic.
type Estimate struct {
	Budget, PerWorkspace int
	Eviction             Eviction
	// HitRatio is which part of the acquires finds a connection open, from 0 to 1, and
	// Refused which part gets none.
	HitRatio, Refused float64
	// WaitP50 and WaitP99 are of the acquires that get a connection: how long until then. A hit
	// has waited for 0.
	WaitP50, WaitP99 time.Duration
	DialsPerSecond   float64
	// ShortOfRoom is which part of the time somebody waits for a slot that another
	// workspace has.
	ShortOfRoom float64
}

// CurvePoint is a point of a Capacity's Curve.
type CurvePoint struct {
	Budget   int
	HitRatio float64
}

// Recommendation is what follows from a Capacity.
type Recommendation struct {
	Verdict Verdict
	// Budget is the workspaces' slots that it recommends, and PerWorkspace the cap. They are
	// those in force where nothing is to change.
	Budget, PerWorkspace int
	// Text says it in a sentence or two, for people.
	Text string
}

// Verdict is the gist of a Recommendation.
type Verdict string

const (
	// TooLittleSeen: the traffic recorded so far says nothing yet.
	TooLittleSeen Verdict = "too_little_seen"
	// Enough: the limits are about right.
	Enough Verdict = "enough"
	// RaiseBudget, LowerBudget: another budget would do better, or as well.
	RaiseBudget Verdict = "raise_budget"
	LowerBudget Verdict = "lower_budget"
	// RaiseCap: what hurts is the cap of a workspace, and not the budget.
	RaiseCap Verdict = "raise_cap"
	// ServerIsFull: a larger budget would do better, and the server does not grant it.
	ServerIsFull Verdict = "server_is_full"
)

// Utilisation says how much of the workspaces' budget has been in use. With a shared budget it
// says how much of the group's this process has had in use.
type Utilisation struct {
	Level Level
	// Windows are the last 1, 10 and 60 minutes.
	Windows [3]UtilisationWindow
	// FullAt is when the limit is reached if the trend of the last hour goes on; zero: there
	// is no trend, or not within a day.
	FullAt time.Time
}

// UtilisationWindow is a Utilisation over some time.
type UtilisationWindow struct {
	// Over is how long it is, and Seen how much of it was observed: nothing before the start, nor
	// while the process stood still.
	Over, Seen time.Duration
	// Budget is the smallest that there was: what the server refused is not in it.
	Budget int
	// Open are all slots taken, Busy those of them that are lent, dialing or closing.
	Open, Busy, InUse, Dialing, Waiting Range
}

// Range is a mean and the highest value.
type Range struct {
	Mean float64
	Peak int
}

// Level is how near the budget is to its end.
type Level string

const (
	// LevelNormal: less than 80 % is busy.
	LevelNormal Level = "normal"
	// LevelHigh: 80 % or more, until it is less than 70 %.
	LevelHigh Level = "high"
	// LevelCritical: 95 % or more, until it is less than 90 %.
	LevelCritical Level = "critical"
)

// AutoBudget is what DB_AUTO_BUDGET has come to.
type AutoBudget struct {
	// Lowest and Highest bound Config.MaxConnections; 0: it is off.
	Lowest, Highest int
	// Target is what MaxConnections is on its way to. Reason says why it changed last, at
	// ChangedAt.
	Target    int
	Reason    string
	ChangedAt time.Time
}
