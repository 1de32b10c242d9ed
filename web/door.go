package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// doorStats is a model.DoorStats in JSON: fields may be added, but keep their names and
// meaning.
type doorStats struct {
	Clients  int `json:"clients"`
	Active   int `json:"active"`
	Waiting  int `json:"waiting"`
	Pinned   int `json:"pinned"`
	Starting int `json:"starting"`

	Logins        uint64 `json:"logins"`
	LoginsRefused uint64 `json:"loginsRefused"`
	Cancels       uint64 `json:"cancels"`
	Transactions  uint64 `json:"transactions"`
	Queries       uint64 `json:"queries"`
	Errors        uint64 `json:"errors"`
	Prepared      uint64 `json:"prepared"`
	Resets        uint64 `json:"resets"`
	Replays       uint64 `json:"replays"`
	FromClients   uint64 `json:"bytesFromClients"`
	FromServers   uint64 `json:"bytesFromServers"`

	WaitMs        float64 `json:"waitMs"`
	QueryMs       float64 `json:"queryMs"`
	TransactionMs float64 `json:"transactionMs"`

	Draining   bool            `json:"draining"`
	Workspaces []doorWorkspace `json:"workspaces"`
	At         string          `json:"at"`
}

// doorWorkspace is a model.DoorWorkspace in JSON.
type doorWorkspace struct {
	ID            model.WorkspaceID `json:"id"`
	Clients       int               `json:"clients"`
	Active        int               `json:"active"`
	Waiting       int               `json:"waiting"`
	Pinned        int               `json:"pinned"`
	LongestWaitMs float64           `json:"longestWaitMs"`
	Transactions  uint64            `json:"transactions"`
	Queries       uint64            `json:"queries"`
	Errors        uint64            `json:"errors"`
	WaitMs        float64           `json:"waitMs"`
	TransactionMs float64           `json:"transactionMs"`
}

func (s *Server) door(c echo.Context) error {
	if s.options.Door == nil {
		return &failure{status: http.StatusConflict, message: "this process has no door for PostgreSQL's clients: start it with --pg-listen"}
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, newDoorStats(s.options.Door(), time.Now()))
}

func newDoorStats(d model.DoorStats, at time.Time) doorStats {
	a := doorStats{
		Clients: d.Clients, Active: d.Active, Waiting: d.Waiting, Pinned: d.Pinned, Starting: d.Starting,
		Logins: d.Logins, LoginsRefused: d.LoginsRefused, Cancels: d.Cancels,
		Transactions: d.Transactions, Queries: d.Queries, Errors: d.Errors, Prepared: d.Prepared, Resets: d.Resets, Replays: d.Replays,
		FromClients: d.FromClients, FromServers: d.FromServers,
		WaitMs: milliseconds(d.WaitTime), QueryMs: milliseconds(d.QueryTime), TransactionMs: milliseconds(d.TransactionTime),
		Draining: d.Draining, Workspaces: make([]doorWorkspace, 0, len(d.Workspaces)), At: at.UTC().Format(time.RFC3339Nano),
	}
	for _, w := range d.Workspaces {
		a.Workspaces = append(a.Workspaces, doorWorkspace{
			ID: w.ID, Clients: w.Clients, Active: w.Active, Waiting: w.Waiting, Pinned: w.Pinned, LongestWaitMs: milliseconds(w.LongestWait),
			Transactions: w.Transactions, Queries: w.Queries, Errors: w.Errors, WaitMs: milliseconds(w.WaitTime), TransactionMs: milliseconds(w.TransactionTime),
		})
	}
	return a
}
