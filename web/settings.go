package web

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type settingsRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	// Those that are not given stay as they are.
	MaxConnections     *int    `json:"maxConnections,omitempty"`
	SoftMaxConnections *int    `json:"softMaxConnections,omitempty"`
	MaxWaiters         *int    `json:"maxWaiters,omitempty"`
	AcquireTimeoutMs   *int    `json:"acquireTimeoutMs,omitempty"`
	Role               *string `json:"role,omitempty"`
	StatementTimeoutMs *int    `json:"statementTimeoutMs,omitempty"`
}

// settingsAnswer has 0 and "" for what is as the configuration says.
type settingsAnswer struct {
	WorkspaceID        model.WorkspaceID `json:"workspaceId"`
	MaxConnections     int               `json:"maxConnections"`
	SoftMaxConnections int               `json:"softMaxConnections"`
	MaxWaiters         int               `json:"maxWaiters"`
	AcquireTimeoutMs   int               `json:"acquireTimeoutMs"`
	Role               string            `json:"role"`
	StatementTimeoutMs int               `json:"statementTimeoutMs"`
}

// workspaceSettings changes what it is told, and answers with all settings of the
// workspace's own.
func (s *Server) workspaceSettings(c echo.Context) error {
	var r settingsRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if err := namesWorkspace(c, r.WorkspaceID); err != nil {
		return err
	}
	for name, ms := range map[string]*int{"acquireTimeoutMs": r.AcquireTimeoutMs, "statementTimeoutMs": r.StatementTimeoutMs} {
		if ms != nil && (*ms < 0 || *ms > math.MaxInt32) {
			return badRequest("%s is %d: it must be from 0 to %d", name, *ms, math.MaxInt32)
		}
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), controlTimeout)
	defer stop()
	own, err := s.changeSettings(ctx, r)
	if r == (settingsRequest{WorkspaceID: r.WorkspaceID}) {
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, newSettingsAnswer(r.WorkspaceID, own))
	}
	result := "set"
	if own == (model.WorkspaceSettings{}) {
		result = "none of its own"
	}
	return s.acted(c, "workspace settings", r.WorkspaceID, result, err, newSettingsAnswer(r.WorkspaceID, own))
}

// changeSettings reads what is to stay and sets them all; one request at a time does so,
// as in changeLimits.
func (s *Server) changeSettings(ctx context.Context, r settingsRequest) (model.WorkspaceSettings, error) {
	select {
	case s.limitsTurn <- struct{}{}:
		defer func() { <-s.limitsTurn }()
	case <-ctx.Done():
		return model.WorkspaceSettings{}, ctx.Err()
	}
	own, err := s.pool.WorkspaceSettings(ctx, r.WorkspaceID)
	if err != nil || r == (settingsRequest{WorkspaceID: r.WorkspaceID}) {
		return own, err
	}
	put(&own.MaxConnections, r.MaxConnections)
	put(&own.SoftMaxConnections, r.SoftMaxConnections)
	put(&own.MaxWaiters, r.MaxWaiters)
	put(&own.Role, r.Role)
	if r.AcquireTimeoutMs != nil {
		own.AcquireTimeout = time.Duration(*r.AcquireTimeoutMs) * time.Millisecond
	}
	if r.StatementTimeoutMs != nil {
		own.StatementTimeout = time.Duration(*r.StatementTimeoutMs) * time.Millisecond
	}
	if err = own.Validate(); err == nil {
		err = s.pool.SetWorkspaceSettings(ctx, r.WorkspaceID, own)
	}
	if wrong := new(model.SettingsError); errors.As(err, &wrong) {
		err = badRequest("%s", settingsFields.Replace(wrong.Error()))
	}
	return own, err
}

func put[T any](into, given *T) {
	if given != nil {
		*into = *given
	}
}

func newSettingsAnswer(id model.WorkspaceID, own model.WorkspaceSettings) settingsAnswer {
	return settingsAnswer{
		WorkspaceID: id, MaxConnections: own.MaxConnections, SoftMaxConnections: own.SoftMaxConnections, MaxWaiters: own.MaxWaiters,
		AcquireTimeoutMs: int(own.AcquireTimeout.Milliseconds()), Role: own.Role, StatementTimeoutMs: int(own.StatementTimeout.Milliseconds()),
	}
}

// settingsFields name the fields of the request in place of Go's.
var settingsFields = strings.NewReplacer("SoftMaxConnections", "softMaxConnections", "MaxConnections", "maxConnections", "MaxWaiters", "maxWaiters",
	"AcquireTimeout", "acquireTimeoutMs", "Role", "role", "StatementTimeout", "statementTimeoutMs", "\n", "; ")
