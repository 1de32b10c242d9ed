package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// Capacity is a model.Capacity in JSON, as admin.capacity and tenantpool capacity say it:
// fields may be added, but keep their names and meaning. All budgets are the workspaces'
// slots; with systemShare they are a maxConnections.
type Capacity struct {
	At string `json:"at"`
	// WindowMs is how much traffic it is made of, Acquires of them.
	WindowMs     float64 `json:"windowMs"`
	Acquires     int     `json:"acquires"`
	SampledOneIn int     `json:"sampledOneIn"`
	SystemShare  int     `json:"systemShare"`

	Present   Estimate     `json:"present"`
	Measured  Estimate     `json:"measured"`
	Estimates []Estimate   `json:"estimates"`
	Curve     []CurvePoint `json:"curve"`
	// OtherEviction is left out if it was not tried.
	OtherEviction  *Estimate      `json:"otherEviction,omitempty"`
	Recommendation Recommendation `json:"recommendation"`
}

// Estimate is a model.Estimate in JSON.
type Estimate struct {
	Budget         int     `json:"budget"`
	PerWorkspace   int     `json:"perWorkspace"`
	Eviction       string  `json:"eviction"`
	HitRatio       float64 `json:"hitRatio"`
	Refused        float64 `json:"refused"`
	WaitP50Ms      float64 `json:"waitP50Ms"`
	WaitP99Ms      float64 `json:"waitP99Ms"`
	DialsPerSecond float64 `json:"dialsPerSecond"`
	ShortOfRoom    float64 `json:"shortOfRoom"`
}

// CurvePoint is a model.CurvePoint in JSON.
type CurvePoint struct {
	Budget   int     `json:"budget"`
	HitRatio float64 `json:"hitRatio"`
}

// Recommendation is a model.Recommendation in JSON.
type Recommendation struct {
	Verdict      string `json:"verdict"`
	Budget       int    `json:"budget"`
	PerWorkspace int    `json:"perWorkspace"`
	Text         string `json:"text"`
}

func (s *Server) capacity(c echo.Context) error {
	look, err := s.planned.get(c.Request().Context(), s.lookAtCapacity)
	if err != nil {
		return err // the client has gone
	}
	if look.err != nil {
		return look.err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, NewCapacity(look.found))
}

// lookAtCapacity asks the planner, and says until when that serves.
func (s *Server) lookAtCapacity() (*look[model.Capacity], time.Time) {
	return lookNow(s.pool.Capacity, "the capacity cannot be told now")
}

// NewCapacity says it in JSON.
func NewCapacity(c model.Capacity) Capacity {
	a := Capacity{
		At: c.At.UTC().Format(time.RFC3339Nano), WindowMs: milliseconds(c.Window), Acquires: c.Acquires, SampledOneIn: c.SampledOneIn,
		SystemShare: c.SystemShare, Present: NewEstimate(c.Present), Measured: NewEstimate(c.Measured),
		Estimates: make([]Estimate, 0, len(c.Estimates)), Curve: make([]CurvePoint, 0, len(c.Curve)),
		Recommendation: Recommendation{
			Verdict: string(c.Recommendation.Verdict), Budget: c.Recommendation.Budget,
			PerWorkspace: c.Recommendation.PerWorkspace, Text: c.Recommendation.Text,
		},
	}
	for _, e := range c.Estimates {
		a.Estimates = append(a.Estimates, NewEstimate(e))
	}
	for _, p := range c.Curve {
		a.Curve = append(a.Curve, CurvePoint(p))
	}
	if c.OtherEviction != (model.Estimate{}) {
		other := NewEstimate(c.OtherEviction)
		a.OtherEviction = &other
	}
	return a
}

// NewEstimate says it in JSON.
func NewEstimate(e model.Estimate) Estimate {
	return Estimate{
		Budget: e.Budget, PerWorkspace: e.PerWorkspace, Eviction: string(e.Eviction), HitRatio: e.HitRatio, Refused: e.Refused,
		WaitP50Ms: milliseconds(e.WaitP50), WaitP99Ms: milliseconds(e.WaitP99), DialsPerSecond: e.DialsPerSecond, ShortOfRoom: e.ShortOfRoom,
	}
}

// utilisationStats says how much of the workspaces' budget has been in use.
type utilisationStats struct {
	Level string `json:"level"`
	// Windows are the last 1, 10 and 60 minutes.
	Windows []utilisationWindow `json:"windows"`
	// FullAt is when the limit is reached if the trend goes on; without one it is left out.
	FullAt string `json:"fullAt,omitempty"`
}

type utilisationWindow struct {
	OverMs float64 `json:"overMs"`
	// SeenMs is how much of it was observed: nothing before the start, nor while the process
	// stood still.
	SeenMs  float64    `json:"seenMs"`
	Budget  int        `json:"budget"`
	Open    rangeStats `json:"open"`
	Busy    rangeStats `json:"busy"`
	InUse   rangeStats `json:"inUse"`
	Dialing rangeStats `json:"dialing"`
	Waiting rangeStats `json:"waiting"`
}

type rangeStats struct {
	Mean float64 `json:"mean"`
	Peak int     `json:"peak"`
}

// newUtilisationStats is nil while the planner is off.
func newUtilisationStats(u model.Utilisation) *utilisationStats {
	if u.Level == "" {
		return nil
	}
	a := &utilisationStats{Level: string(u.Level)}
	for _, w := range u.Windows {
		a.Windows = append(a.Windows, utilisationWindow{
			OverMs: milliseconds(w.Over), SeenMs: milliseconds(w.Seen), Budget: w.Budget,
			Open: rangeStats(w.Open), Busy: rangeStats(w.Busy), InUse: rangeStats(w.InUse), Dialing: rangeStats(w.Dialing), Waiting: rangeStats(w.Waiting),
		})
	}
	if !u.FullAt.IsZero() {
		a.FullAt = u.FullAt.UTC().Format(time.RFC3339)
	}
	return a
}

// autoBudgetStats is what DB_AUTO_BUDGET has come to. Its figures are of maxConnections.
type autoBudgetStats struct {
	Lowest  int    `json:"lowest"`
	Highest int    `json:"highest"`
	Target  int    `json:"target"`
	Reason  string `json:"reason,omitempty"`
	// ChangedAt is left out until it has changed something.
	ChangedAt string `json:"changedAt,omitempty"`
}

// newAutoBudgetStats is nil if the budget is not set automatically.
func newAutoBudgetStats(b model.AutoBudget) *autoBudgetStats {
	if b.Highest == 0 {
		return nil
	}
	a := &autoBudgetStats{Lowest: b.Lowest, Highest: b.Highest, Target: b.Target, Reason: b.Reason}
	if !b.ChangedAt.IsZero() {
		a.ChangedAt = b.ChangedAt.UTC().Format(time.RFC3339)
	}
	return a
}
