package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// SharedBudget is a model.SharedBudget in JSON, as admin.replicas and tenantpool replicas say
// it: fields may be added, but keep their names and meaning. The shares of the replicas, a
// control session for each of them, the strangers and what is free make the budget.
type SharedBudget struct {
	Group   string `json:"group"`
	Budget  int    `json:"budget"`
	Floor   int    `json:"floor"`
	Reserve int    `json:"reserve"`
	// Free has the reserve in it. It is negative while more is promised than there is.
	Free      int `json:"free"`
	Strangers int `json:"strangers"`
	// RoleLimit is the role's CONNECTION LIMIT; null: none holds for it.
	RoleLimit *int      `json:"roleLimit"`
	Replicas  []Replica `json:"replicas"`
	At        string    `json:"at"`
}

// Replica is a model.Replica in JSON.
type Replica struct {
	ID      string  `json:"id"`
	Label   string  `json:"label"`
	Self    bool    `json:"self"`
	State   string  `json:"state"`
	AgeMs   float64 `json:"ageMs"`
	Share   int     `json:"share"`
	Granted int     `json:"granted"`
	Wants   int     `json:"wants"`
	Open    int     `json:"open"`
	InUse   int     `json:"inUse"`
	Idle    int     `json:"idle"`
	Waiting int     `json:"waiting"`
}

// sharedStats is a process's own part in a shared budget.
type sharedStats struct {
	Group     string `json:"group"`
	Connected bool   `json:"connected"`
	Budget    int    `json:"budget"`
	Limit     int    `json:"limit"`
	Refusals  uint64 `json:"refusals"`
}

// newSharedStats is nil if the budget is not shared.
func newSharedStats(r model.ReplicaStats) *sharedStats {
	if r.Group == "" {
		return nil
	}
	return &sharedStats{r.Group, r.Connected, r.Budget, r.Limit, r.Refusals}
}

func (s *Server) replicas(c echo.Context) error {
	look, err := s.group.get(c.Request().Context(), s.lookAtGroup)
	if err != nil {
		return err // the client has gone
	}
	if look.err != nil {
		return look.err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, NewSharedBudget(look.found, look.at))
}

// lookAtGroup reads the group, and says until when that serves.
func (s *Server) lookAtGroup() (*look[model.SharedBudget], time.Time) {
	return lookNow(s.pool.SharedBudget, "the group cannot be read now")
}

// NewSharedBudget says it in JSON, as it was at that time.
func NewSharedBudget(b model.SharedBudget, at time.Time) SharedBudget {
	a := SharedBudget{
		Group: b.Group, Budget: b.Budget, Floor: b.Floor, Reserve: b.Reserve, Free: b.Free, Strangers: b.Strangers,
		Replicas: make([]Replica, 0, len(b.Replicas)), At: at.UTC().Format(time.RFC3339Nano),
	}
	if b.RoleLimit >= 0 {
		a.RoleLimit = &b.RoleLimit
	}
	for _, r := range b.Replicas {
		a.Replicas = append(a.Replicas, Replica{
			ID: r.ID, Label: r.Label, Self: r.Self, State: string(r.State), AgeMs: milliseconds(r.Age),
			Share: r.Share, Granted: r.Granted, Wants: r.Wants, Open: r.Open, InUse: r.InUse, Idle: r.Idle(), Waiting: r.Waiting,
		})
	}
	return a
}
