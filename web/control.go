package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type workspaceRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
}

// emptyRequest need not be sent.
type emptyRequest struct{}

// closedAnswer is of an evict or a renewal.
type closedAnswer struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId,omitempty"`
	Closed      int               `json:"closed"`
}

type pauseRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	// WaitMs is how long the answer may wait for the workspace's leases to come
	// home; not given: 5000.
	WaitMs *int `json:"waitMs,omitempty"`
}

type pauseAnswer struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	Paused      bool              `json:"paused"`
	// Done: the workspace has no connection left. Closed is how many it had.
	Done   bool `json:"done"`
	Closed *int `json:"closed,omitempty"`
}

type resumeAnswer struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	Paused      bool              `json:"paused"`
}

type limitsRequest struct {
	// The one that is not given stays as it is.
	MaxConnections      *int `json:"maxConnections,omitempty"`
	MaxConnectionsPerDB *int `json:"maxConnectionsPerDB,omitempty"`
}

type limitsAnswer struct {
	MaxConnections      int `json:"maxConnections"`
	MaxConnectionsPerDB int `json:"maxConnectionsPerDB"`
	// Warning says why there will be fewer connections.
	Warning string `json:"warning,omitempty"`
}

func (l limitsAnswer) String() string {
	return fmt.Sprintf("maxConnections %d, maxConnectionsPerDB %d", l.MaxConnections, l.MaxConnectionsPerDB)
}

type drainRequest struct {
	// Confirm is the word "drain": there is no way back.
	Confirm string `json:"confirm"`
}

type drainAnswer struct {
	Draining bool `json:"draining"`
}

const (
	// controlTimeout bounds what needs no lease to come home.
	controlTimeout = 30 * time.Second
	pauseWait      = 5 * time.Second
	pauseWaitMax   = time.Minute
	// drainTimeout bounds the wait for the drain's end, not the drain itself.
	drainTimeout = 10 * time.Minute
)

func (s *Server) evictWorkspace(c echo.Context) error {
	id, err := s.readWorkspace(c)
	if err != nil {
		return err
	}
	return s.closeIdle(c, "evict", id, func(ctx context.Context) (int, error) { return s.pool.Evict(ctx, id) })
}

func (s *Server) renewWorkspace(c echo.Context) error {
	id, err := s.readWorkspace(c)
	if err != nil {
		return err
	}
	return s.closeIdle(c, "renew", id, func(ctx context.Context) (int, error) { return s.pool.Renew(ctx, id) })
}

func (s *Server) renewAll(c echo.Context) error {
	if err := s.readNothing(c); err != nil {
		return err
	}
	return s.closeIdle(c, "renew all", "", s.pool.RenewAll)
}

// closeIdle waits until the server has let go of the connections; they close even
// if the client does not wait for that.
func (s *Server) closeIdle(c echo.Context, action string, id model.WorkspaceID, act func(context.Context) (int, error)) error {
	ctx, stop := context.WithTimeout(c.Request().Context(), controlTimeout)
	defer stop()
	closed, err := act(ctx)
	return s.acted(c, action, id, fmt.Sprintf("%d closed", closed), err, closedAnswer{id, closed})
}

// acted tells what came of an action: the audit log the result, and the client the answer.
func (s *Server) acted(c echo.Context, action string, id model.WorkspaceID, result string, err error, answer any) error {
	s.snapshots.forget()
	s.audit(c, action, id, result, err)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, answer)
}

// pauseWorkspace: the workspace is paused at once; the answer waits for its
// leases, and says done: false if some were not home in time.
func (s *Server) pauseWorkspace(c echo.Context) error {
	var r pauseRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if err := namesWorkspace(c, r.WorkspaceID); err != nil {
		return err
	}
	wait := pauseWait
	if r.WaitMs != nil {
		if *r.WaitMs < 0 || *r.WaitMs > int(pauseWaitMax.Milliseconds()) {
			return badRequest("waitMs is %d: it must be from 0 to %d", *r.WaitMs, pauseWaitMax.Milliseconds())
		}
		wait = time.Duration(*r.WaitMs) * time.Millisecond
	}
	ctx, stop := s.waitForLeases(c, wait)
	defer stop()
	closed, err := s.pool.Pause(ctx, r.WorkspaceID)
	answer := pauseAnswer{WorkspaceID: r.WorkspaceID, Paused: true}
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return s.acted(c, "pause", r.WorkspaceID, "paused, not all closed yet", nil, answer)
	}
	answer.Done, answer.Closed = true, &closed
	return s.acted(c, "pause", r.WorkspaceID, fmt.Sprintf("paused, %d closed", closed), err, answer)
}

// waitForLeases is the request's context, for a time and until the server ends:
// somebody's lease may outlast all that.
func (s *Server) waitForLeases(c echo.Context, atMost time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithTimeout(c.Request().Context(), atMost)
	forget := context.AfterFunc(s.ending, stop)
	return ctx, func() { forget(); stop() }
}

func (s *Server) resumeWorkspace(c echo.Context) error {
	id, err := s.readWorkspace(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), controlTimeout)
	defer stop()
	err = s.pool.Resume(ctx, id)
	return s.acted(c, "resume", id, "resumed", err, resumeAnswer{WorkspaceID: id})
}

// setLimits changes one limit or both.
func (s *Server) setLimits(c echo.Context) error {
	var r limitsRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if r.MaxConnections == nil && r.MaxConnectionsPerDB == nil {
		return badRequest("maxConnections or maxConnectionsPerDB is required")
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), controlTimeout)
	defer stop()
	limits, err := s.changeLimits(ctx, r)
	return s.acted(c, "set limits", "", limits.String(), err, limits)
}

// changeLimits reads the limit that is to stay and sets both. One request at a
// time does so, or one's change could undo another's.
func (s *Server) changeLimits(ctx context.Context, r limitsRequest) (limitsAnswer, error) {
	select {
	case s.limitsTurn <- struct{}{}:
		defer func() { <-s.limitsTurn }()
	case <-ctx.Done():
		return limitsAnswer{}, ctx.Err()
	}
	st, err := s.pool.Stats(ctx)
	if err != nil {
		return limitsAnswer{}, err
	}
	limits := limitsAnswer{MaxConnections: st.MaxConnections, MaxConnectionsPerDB: st.MaxConnectionsPerDB}
	if r.MaxConnections != nil {
		limits.MaxConnections = *r.MaxConnections
	}
	if r.MaxConnectionsPerDB != nil {
		limits.MaxConnectionsPerDB = *r.MaxConnectionsPerDB
	}
	granted, err := s.pool.SetLimits(ctx, limits.MaxConnections, limits.MaxConnectionsPerDB)
	s.group.forget()
	switch {
	case err != nil:
		return limits, namingFields(err)
	case st.Shared.Group != "" && granted == limits.MaxConnections:
	case st.Shared.Group != "":
		limits.Warning = fmt.Sprintf("the role's CONNECTION LIMIT is not the shared budget, %d: set it, with tenantpool fence or ALTER ROLE", limits.MaxConnections)
	case granted == 0:
		limits.Warning = "the database server did not say how many connections it grants"
	case granted < limits.MaxConnections:
		limits.Warning = fmt.Sprintf("the database server grants %d connections, fewer than maxConnections: "+
			"lower it, or raise max_connections or the role's connection limit", granted)
	}
	return limits, nil
}

// limitFields are the fields that set what is otherwise set by a variable.
var limitFields = map[string]string{
	"DB_MAX_CONNECTIONS":        "maxConnections",
	"DB_MAX_CONNECTIONS_PER_DB": "maxConnectionsPerDB",
}

// namingFields lets ConfigErrors name the fields of the request in place of
// variables.
func namingFields(err error) error {
	var bad *model.ConfigError
	if !errors.As(err, &bad) {
		return err
	}
	var said []string
	for _, e := range eachError(err) {
		if errors.As(e, &bad) {
			said = append(said, fmt.Sprintf("%s is %v: it must be %s", cmp.Or(limitFields[bad.Variable], bad.Variable), bad.Value, bad.Want))
		}
	}
	return badRequest("%s", strings.Join(said, "; "))
}

// eachError takes a joined error apart, under whatever wraps it.
func eachError(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(interface{ Unwrap() []error }); ok { //nolint:errorlint // this is the unwrapping
			return joined.Unwrap()
		}
	}
	return []error{err}
}

// drain answers at once. The leases may take their time to come home: what
// follows is told in the log and in the statistics.
func (s *Server) drain(c echo.Context) error {
	var r drainRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if r.Confirm != "drain" {
		return badRequest(`confirm must be "drain": nothing is lent after it, until the program is started anew`)
	}
	if s.draining.CompareAndSwap(false, true) {
		go s.drainPool()
		s.audit(c, "drain", "", "begun", nil)
	} else {
		s.audit(c, "drain", "", "going on already", nil)
	}
	return c.JSON(http.StatusOK, drainAnswer{Draining: true})
}

// drainPool belongs to no request: it goes on when the client has gone.
func (s *Server) drainPool() {
	began := time.Now()
	s.log.Info("Draining")
	for {
		ctx, stop := context.WithTimeout(context.Background(), drainTimeout)
		err := s.pool.Close(ctx)
		again := ctx.Err() != nil // it goes on draining
		stop()
		s.snapshots.forget()
		log := s.log.With("took", time.Since(began).Round(time.Millisecond).String())
		switch {
		case err == nil:
			log.Info("Drained")
			close(s.drained)
			return
		case !again:
			log.Error("The drain failed", "error", err.Error())
			return
		}
		log.Warn("Not drained yet", "error", err.Error())
	}
}

// audit writes the one line that says who did what to which workspace (empty: to
// all), and what came of it: the result, or that it failed. Of an error only its text
// stands there.
func (s *Server) audit(c echo.Context, action string, workspace model.WorkspaceID, result string, err error) {
	who := s.identity(c)
	attrs := append(s.identityAttrs(c), slog.String("audit", action), slog.String("role", string(who.Role)), slog.String("request_id", requestID(c)))
	if workspace != "" {
		attrs = append(attrs, slog.String("workspace_id", string(workspace)))
	}
	if err != nil {
		result = "failed"
		attrs = append(attrs, slog.String("error", loggedError(err)))
	}
	attrs = append(attrs, slog.String("result", result))
	s.log.LogAttrs(c.Request().Context(), slog.LevelInfo, "Operator's action", attrs...)
}
