package planner

import "github.com/tenantpool/tenantpool/model"

// Curve estimates the hit ratio for every budget.
type Curve struct{}

// NewCurve returns an empty Curve.
func NewCurve() *Curve { return new(Curve) }

// Add adds what happened next.
func (c *Curve) Add(Traffic) {}

// Measured tells whether there is enough to go by.
func (c *Curve) Measured() bool { return false }

// HitRatio is that for a budget, from 0 to 1.
func (c *Curve) HitRatio(int) float64 { return 0 }

// Points are at most 64 of them, with ascending budgets.
func (c *Curve) Points() []model.CurvePoint { return nil }
