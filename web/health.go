package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type healthAnswer struct {
	// Status is "ok", or "not ready"; where the process lives but is about to end,
	// "draining".
	Status string `json:"status"`
	// Failed says which parts are why, or what the end waits for.
	Failed []string `json:"failed,omitempty"`
}

// healthz: who can answer lives. Of a process that is about to end it says what that
// waits for.
func (s *Server) healthz(c echo.Context) error {
	var waits []string
	if s.leaving.Load() {
		waits = append(waits, "process: shutting down")
	}
	if s.draining.Load() {
		waits = append(waits, s.drainWaits(c.Request().Context()))
	}
	if len(waits) > 0 {
		return c.JSON(http.StatusOK, healthAnswer{"draining", waits})
	}
	return c.JSON(http.StatusOK, healthAnswer{Status: "ok"})
}

// drainWaits says what the drain waits for.
func (s *Server) drainWaits(ctx context.Context) string {
	ctx, stop := context.WithTimeout(ctx, readyTimeout)
	defer stop()
	t, err := s.snapshots.get(ctx)
	switch {
	case err == nil && errors.Is(t.err, model.ErrClosed):
		return "pool: it is drained and closed"
	case err != nil, t.err != nil:
		return "supervisor: it does not answer"
	}
	st := t.stats
	return fmt.Sprintf("pool: it is draining: connections are lent (%d), being opened (%d) or closed (%d)",
		st.Workspaces.InUse+st.System.InUse, st.Workspaces.Dialing+st.System.Dialing, st.Workspaces.Closing+st.System.Closing)
}

const (
	// readyTimeout is how long each part may take to answer.
	readyTimeout = time.Second
	// readyReuse is for how long one check serves all who ask. Anybody may ask,
	// and a check takes a connection.
	readyReuse = 250 * time.Millisecond
)

func (s *Server) readyz(c echo.Context) error {
	ready, err := s.whetherReady(c.Request().Context())
	if err != nil {
		return err
	}
	if len(ready.Failed) > 0 {
		return c.JSON(http.StatusServiceUnavailable, ready)
	}
	return c.JSON(http.StatusOK, ready)
}

// whetherReady shares one check among all who ask. Its error is ctx's.
func (s *Server) whetherReady(ctx context.Context) (healthAnswer, error) {
	if s.leaves() {
		return healthAnswer{"not ready", []string{"process: shutting down"}}, nil
	}
	return s.readiness.get(ctx, func() (healthAnswer, time.Time) {
		answer := s.checkReady()
		return answer, time.Now().Add(readyReuse)
	})
}

func (s *Server) leaves() bool { return s.leaving.Load() || s.ending.Err() != nil }

func (s *Server) isReady(ctx context.Context) bool {
	answer, err := s.whetherReady(ctx)
	return err == nil && len(answer.Failed) == 0
}

// said is what the database server said to a ping that failed, without its words, which may
// name hosts and roles.
func said(err error, system model.BudgetStats) string {
	var (
		limit   *model.ConnectionLimitError
		refusal interface{ SQLState() string }
		code    string
	)
	if errors.As(err, &refusal) || errors.As(system.ServerDown, &refusal) {
		code = refusal.SQLState()
	}
	full := code == pgerrcode.TooManyConnections
	switch { // nobody dials while the server is known to be full
	case errors.As(err, &limit):
		full = full || limit.EffectiveBudget < limit.MaxConnections && limit.Lingering == 0
	case system.ServerDown == nil && !errors.Is(err, context.DeadlineExceeded):
		full = full || system.EffectiveBudget < system.Budget
	}
	switch {
	case full:
		return "it refuses connections: too many clients"
	case code == pgerrcode.CannotConnectNow:
		return "it refuses connections: it is starting or shutting down"
	case strings.HasPrefix(code, "28"):
		return "it refuses the login"
	case code != "":
		return "it refuses connections: SQLSTATE " + code
	}
	return "it does not answer"
}

// checkReady asks all parts at once. What went wrong stands in the log; the
// answer, which anybody may read, says only where.
func (s *Server) checkReady() healthAnswer {
	ctx, stop := context.WithTimeout(context.Background(), readyTimeout)
	defer stop()
	pinged := make(chan error, 1)
	go func() { pinged <- s.pool.Ping(ctx) }()
	stats, err := s.pool.Stats(ctx)

	var failed []string
	fail := func(part string, err error) {
		failed = append(failed, part)
		s.readyLog.notReady(part, err)
	}
	switch {
	case errors.Is(err, model.ErrClosed):
		failed = append(failed, "pool: it is drained and closed")
	case err != nil:
		fail("supervisor: it does not answer", err)
	case stats.Workspaces.Draining, stats.System.Draining, s.draining.Load():
		failed = append(failed, "pool: it is draining")
	}
	if err := <-pinged; err != nil && !errors.Is(err, model.ErrClosed) {
		fail("database server: "+said(err, stats.System), err)
	}
	if len(failed) > 0 {
		return healthAnswer{"not ready", failed}
	}
	s.readyLog.ready()
	return healthAnswer{Status: "ok"}
}
