package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// usageAnswer is what workspaces have had since the start.
type usageAnswer struct {
	// Workspaces are those with the most connection time, the first of so many known.
	Workspaces []workspaceUsage `json:"workspaces"`
	Known      int              `json:"known"`
	// Others is the sum of all that are not in Workspaces.
	Others usageSum `json:"others"`
}

type workspaceUsage struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	usageSum
}

type usageSum struct {
	Acquires uint64  `json:"acquires"`
	Waits    uint64  `json:"waits"`
	Refused  uint64  `json:"refused"`
	Dials    uint64  `json:"dials"`
	WaitedMs float64 `json:"waitedMs"`
	LentMs   float64 `json:"lentMs"`
}

func newUsageSum(u model.WorkspaceUsage) usageSum {
	return usageSum{u.Acquires, u.Waits, u.Refused, u.Dials, milliseconds(u.Waited), milliseconds(u.Lent)}
}

// usageUsually is how many workspaces an answer has, usageAtMost how many it may have.
const (
	usageUsually = 100
	usageAtMost  = 1_000
)

func (s *Server) usage(c echo.Context) error {
	limit, err := readUsageLimit(c.QueryParams())
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), snapshotTimeout)
	defer stop()
	all, err := s.pool.Usage(ctx)
	if err != nil {
		return err
	}
	shown := min(limit, len(all.Workspaces))
	a := usageAnswer{Workspaces: make([]workspaceUsage, 0, shown), Known: len(all.Workspaces)}
	for _, w := range all.Workspaces[:shown] {
		a.Workspaces = append(a.Workspaces, workspaceUsage{w.ID, newUsageSum(w)})
	}
	for _, w := range all.Workspaces[shown:] {
		all.Others.Add(w)
	}
	a.Others = newUsageSum(all.Others)
	return c.JSON(http.StatusOK, a)
}

func readUsageLimit(query url.Values) (int, error) {
	limit := usageUsually
	for name, values := range query {
		n, err := strconv.Atoi(values[0])
		switch {
		case name != "limit":
			return 0, badRequest("there is no parameter %q here: limit is", shortened(name))
		case len(values) > 1:
			return 0, badRequest("the parameter %q is given %d times", name, len(values))
		case err != nil || n < 1 || n > usageAtMost:
			return 0, badRequest("limit is %q: it must be from 1 to %d", shortened(values[0]), usageAtMost)
		}
		limit = n
	}
	return limit, nil
}
