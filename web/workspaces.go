package web

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type workspaceAnswer struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
}

type deleteRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	// Confirm repeats the workspaceId.
	Confirm model.WorkspaceID `json:"confirm"`
	// Force ends the sessions of other processes in the database.
	Force bool `json:"force,omitempty"`
}

type workspaceList struct {
	Workspaces []model.WorkspaceID `json:"workspaces"`
}

// workspaceTimeout bounds creating, deleting and listing: a server may take long
// to copy a database's files, and a workspace's leases to come home.
const workspaceTimeout = time.Minute

func (s *Server) createWorkspace(c echo.Context) error {
	id, err := s.readWorkspace(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), workspaceTimeout)
	defer stop()
	err = s.pool.CreateWorkspace(ctx, id)
	s.audit(c, "create workspace", id, "created", err)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, workspaceAnswer{id})
}

func (s *Server) listWorkspaces(c echo.Context) error {
	ctx, stop := context.WithTimeout(c.Request().Context(), workspaceTimeout)
	defer stop()
	ids, err := s.pool.Workspaces(ctx)
	if err != nil {
		return err
	}
	if ids == nil {
		ids = []model.WorkspaceID{} // [], not null
	}
	return c.JSON(http.StatusOK, workspaceList{ids})
}

// deleteWorkspace drops the workspace's database, with all that is in it.
func (s *Server) deleteWorkspace(c echo.Context) error {
	var r deleteRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if err := namesWorkspace(c, r.WorkspaceID); err != nil {
		return err
	}
	if r.Confirm != r.WorkspaceID {
		return badRequest("confirm must repeat the workspaceId: its database is dropped, and there is no way back")
	}
	ctx, stop := s.waitForLeases(c, workspaceTimeout)
	defer stop()
	drop, action := s.pool.DeleteWorkspace, "delete workspace"
	if r.Force {
		drop, action = s.pool.ForceDeleteWorkspace, "delete workspace with force"
	}
	err := drop(ctx, r.WorkspaceID)
	return s.acted(c, action, r.WorkspaceID, "deleted", err, workspaceAnswer{r.WorkspaceID})
}
