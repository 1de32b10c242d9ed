package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

// connectionStats is the answer to admin.connectionStats. Open is in use + idle +
// dialing + closing, at every level: all numbers are of one moment, At.
type connectionStats struct {
	MaxConnections           int       `json:"maxConnections"`
	MaxConnectionsPerDB      int       `json:"maxConnectionsPerDB"`
	TotalOpenConnections     int       `json:"totalOpenConnections"`
	TotalInUseConnections    int       `json:"totalInUseConnections"`
	TotalIdleConnections     int       `json:"totalIdleConnections"`
	TotalDialingConnections  int       `json:"totalDialingConnections"`
	TotalClosingConnections  int       `json:"totalClosingConnections"`
	TotalWaiting             int       `json:"totalWaiting"`
	ActiveWorkspaceDatabases int       `json:"activeWorkspaceDatabases"`
	SystemConnections        poolStats `json:"systemConnections"`
	// WorkspacePools are those on the page that was asked for, of the
	// WorkspacesFound that the search found.
	WorkspacePools           map[string]poolStats `json:"workspacePools"`
	WorkspacesFound          int                  `json:"workspacesFound"`
	WorkspaceBudget          int                  `json:"workspaceBudget"`
	EffectiveWorkspaceBudget int                  `json:"effectiveWorkspaceBudget"`
	BatchWork                batchStats           `json:"batchWork"`
	LongestWaitMs            float64              `json:"longestWaitMs"`
	LongestLease             *leaseStats          `json:"longestLease"`
	HitRatio                 float64              `json:"hitRatio"`
	Counters                 counterStats         `json:"counters"`
	EvictionsByReason        map[string]uint64    `json:"evictionsByReason"`
	AcquireWait              histogramStats       `json:"acquireWait"`
	DialTime                 histogramStats       `json:"dialTime"`
	SupervisorSaturation     float64              `json:"supervisorSaturation"`
	Draining                 bool                 `json:"draining"`
	ServerDown               string               `json:"serverDown,omitempty"`
	// Shared is there if MaxConnections is a budget for several processes.
	Shared *sharedStats `json:"shared,omitempty"`
	// Utilisation is there unless the planner is off, AutoBudget if the budget sets itself.
	Utilisation *utilisationStats `json:"utilisation,omitempty"`
	AutoBudget  *autoBudgetStats  `json:"autoBudget,omitempty"`
	At          string            `json:"at"`
	// Missing says which parts could not be had, and why.
	Missing []string `json:"missing,omitempty"`
}

// batchStats are those of work over many workspaces, which is part of the totals.
type batchStats struct {
	// OpenConnections are dialed for it, lent to it, or closing after it.
	OpenConnections int `json:"openConnections"`
	Waiting         int `json:"waiting"`
	// MaxOpen is its share of the workspaces' budget.
	MaxOpen int `json:"maxOpen"`
}

type poolStats struct {
	OpenConnections int `json:"openConnections"`
	InUse           int `json:"inUse"`
	Idle            int `json:"idle"`
	Dialing         int `json:"dialing"`
	Closing         int `json:"closing"`
	Waiting         int `json:"waiting"`
	MaxOpen         int `json:"maxOpen"`
	// SoftMaxOpen is how many of MaxOpen it need not share, if that is not all.
	SoftMaxOpen int     `json:"softMaxOpen,omitempty"`
	LastUsedMs  float64 `json:"lastUsedMs"`
	Dials       uint64  `json:"dials"`
	Evictions   uint64  `json:"evictions"`
	Paused      bool    `json:"paused"`
}

type leaseStats struct {
	WorkspaceID string  `json:"workspaceId"`
	System      bool    `json:"system,omitempty"`
	AgeMs       float64 `json:"ageMs"`
}

type counterStats struct {
	Acquires       uint64 `json:"acquires"`
	Hits           uint64 `json:"hits"`
	HandOffs       uint64 `json:"handOffs"`
	FreshGrants    uint64 `json:"freshGrants"`
	Dials          uint64 `json:"dials"`
	DialFailures   uint64 `json:"dialFailures"`
	ServerRefusals uint64 `json:"serverRefusals"`
	Evictions      uint64 `json:"evictions"`
	LimitErrors    uint64 `json:"limitErrors"`
	Rejects        uint64 `json:"rejects"`
	StaleMessages  uint64 `json:"staleMessages"`
}

// histogramStats counts durations by size: counts[i] is how many were at most
// boundsMs[i] and longer than the bound before; the last, those longer than all.
type histogramStats struct {
	BoundsMs []float64 `json:"boundsMs"`
	Counts   []uint64  `json:"counts"`
	SumMs    float64   `json:"sumMs"`
}

// connectionStats answers with what the pool says, or else with what is still
// known. It fails only when it is asked for a page that cannot be.
func (s *Server) connectionStats(c echo.Context) error {
	if _, err := url.ParseQuery(c.Request().URL.RawQuery); err != nil {
		return badRequest("the parameters of the address cannot be read: %v", err)
	}
	page, err := readStatsPage(c.QueryParams())
	if err != nil {
		return err
	}
	t, err := s.snapshots.get(c.Request().Context())
	if err != nil {
		return err // the client has gone
	}
	body := t.body
	if len(c.QueryParams()) > 0 && t.err == nil {
		body = encodeStats(newConnectionStats(t.stats, page), t.at)
	}
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(body))) // or it is sent in chunks
	return c.JSONBlob(http.StatusOK, body)
}

// newConnectionStats: the totals are of both shares together. The counters, the
// hit ratio and the histograms are of the workspaces' share: the system
// database's few connections would only blur them.
func newConnectionStats(st model.Stats, page statsPage) connectionStats {
	ws, sys := st.Workspaces, st.System
	shown, found := page.of(ws.Active)
	a := connectionStats{
		MaxConnections:           st.MaxConnections,
		MaxConnectionsPerDB:      st.MaxConnectionsPerDB,
		TotalOpenConnections:     ws.Open() + sys.Open(),
		TotalInUseConnections:    ws.InUse + sys.InUse,
		TotalIdleConnections:     ws.Idle + sys.Idle,
		TotalDialingConnections:  ws.Dialing + sys.Dialing,
		TotalClosingConnections:  ws.Closing + sys.Closing,
		TotalWaiting:             ws.Waiting + sys.Waiting,
		ActiveWorkspaceDatabases: len(ws.Active),
		SystemConnections:        newSystemStats(sys),
		WorkspacePools:           make(map[string]poolStats, len(shown)),
		WorkspacesFound:          found,
		WorkspaceBudget:          ws.Budget,
		EffectiveWorkspaceBudget: ws.EffectiveBudget,
		BatchWork:                batchStats{ws.Batch.Open(), ws.Batch.Waiting, ws.BatchBudget},
		LongestWaitMs:            milliseconds(max(ws.LongestWait, sys.LongestWait)),
		LongestLease:             newLeaseStats(ws, sys),
		HitRatio:                 hitRatio(ws.Counters),
		Counters:                 newCounterStats(ws.Counters),
		EvictionsByReason:        closesByReason(ws.Counters),
		AcquireWait:              newHistogramStats(ws.Waits),
		DialTime:                 newHistogramStats(ws.DialTimes),
		SupervisorSaturation:     st.Saturation,
		Draining:                 ws.Draining || sys.Draining,
		ServerDown:               serverDown(ws, sys),
		Shared:                   newSharedStats(st.Shared),
		Utilisation:              newUtilisationStats(st.Utilisation),
		AutoBudget:               newAutoBudgetStats(st.AutoBudget),
	}
	for _, w := range shown {
		a.WorkspacePools[string(w.ID)] = newPoolStats(w, cmp.Or(w.Cap, ws.PerWorkspace))
	}
	return a
}

// missingConnectionStats is the answer when the pool gives none: the limits as
// they were last known, and why there is no more.
func missingConnectionStats(last *limitsAnswer, err error) connectionStats {
	a := newConnectionStats(model.Stats{}, firstPage)
	a.Missing = []string{"all counts: " + err.Error()}
	a.Draining = errors.Is(err, model.ErrClosed)
	if last == nil {
		a.Missing = append(a.Missing, "the limits: they were never known")
		return a
	}
	a.MaxConnections, a.MaxConnectionsPerDB = last.MaxConnections, last.MaxConnectionsPerDB
	return a
}

func newPoolStats(w model.WorkspaceStats, maxOpen int) poolStats {
	soft := w.SoftCap
	if soft >= maxOpen {
		soft = 0
	}
	return poolStats{
		OpenConnections: w.Open(),
		InUse:           w.InUse,
		Idle:            w.Idle,
		Dialing:         w.Dialing,
		Closing:         w.Closing,
		Waiting:         w.Waiting,
		MaxOpen:         maxOpen,
		SoftMaxOpen:     soft,
		LastUsedMs:      milliseconds(w.LastUsed),
		Dials:           w.Dials,
		Evictions:       w.Evictions,
		Paused:          w.Paused,
	}
}

// newSystemStats: the whole share is one database's.
func newSystemStats(b model.BudgetStats) poolStats {
	w := model.WorkspaceStats{}
	if len(b.Active) > 0 {
		w = b.Active[0]
	}
	w.Counts, w.Dials, w.Evictions = b.Counts, b.Counters.Dials, b.Counters.Evictions()
	return newPoolStats(w, b.Budget)
}

// newLeaseStats is the oldest lease of all; that of the system database has no
// workspace.
func newLeaseStats(ws, sys model.BudgetStats) *leaseStats {
	switch {
	case max(ws.LongestLease, sys.LongestLease) == 0:
		return nil
	case ws.LongestLease >= sys.LongestLease:
		return &leaseStats{WorkspaceID: string(ws.LongestLeaseWorkspace), AgeMs: milliseconds(ws.LongestLease)}
	}
	return &leaseStats{System: true, AgeMs: milliseconds(sys.LongestLease)}
}

// hitRatio is which part of the acquires that got a connection found an idle
// one; 0 when there was none.
func hitRatio(c model.Counters) float64 {
	if c.Grants() == 0 {
		return 0
	}
	return float64(c.Hits) / float64(c.Grants())
}

func newCounterStats(c model.Counters) counterStats {
	return counterStats{
		Acquires:       c.Acquires,
		Hits:           c.Hits,
		HandOffs:       c.HandOffs,
		FreshGrants:    c.FreshGrants,
		Dials:          c.Dials,
		DialFailures:   c.DialFailures,
		ServerRefusals: c.ServerRefusals,
		Evictions:      c.Evictions(),
		LimitErrors:    c.LimitErrors,
		Rejects:        c.Rejects,
		StaleMessages:  c.StaleMessages,
	}
}

func closesByReason(c model.Counters) map[string]uint64 {
	closes := make(map[string]uint64, model.CloseReasons)
	for reason := range model.CloseReasons {
		closes[reason.String()] = c.Closes[reason]
	}
	return closes
}

func newHistogramStats(h model.Histogram) histogramStats {
	a := histogramStats{Counts: h.Counts[:], SumMs: milliseconds(h.Sum)}
	for _, bound := range model.HistogramBounds {
		a.BoundsMs = append(a.BoundsMs, milliseconds(bound))
	}
	return a
}

func serverDown(ws, sys model.BudgetStats) string {
	switch {
	case ws.ServerDown != nil:
		return ws.ServerDown.Error()
	case sys.ServerDown != nil:
		return sys.ServerDown.Error()
	}
	return ""
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
