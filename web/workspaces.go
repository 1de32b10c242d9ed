package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
)

type createRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	// Template is the database that is copied; From the workspace whose database is.
	Template string            `json:"template,omitempty"`
	From     model.WorkspaceID `json:"from,omitempty"`
}

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

type renameRequest struct {
	WorkspaceID model.WorkspaceID `json:"workspaceId"`
	// To is the id that it gets.
	To model.WorkspaceID `json:"to"`
}

type workspaceList struct {
	Workspaces []model.WorkspaceID `json:"workspaces"`
	// Next is what after is for the next page, if there may be one.
	Next model.WorkspaceID `json:"next,omitempty"`
}

// workspaceTimeout bounds creating, deleting, renaming and listing: a server may take long
// to copy a database's files, and a workspace's leases to come home.
const workspaceTimeout = time.Minute

func (s *Server) createWorkspace(c echo.Context) error {
	var r createRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if err := namesWorkspace(c, r.WorkspaceID); err != nil {
		return err
	}
	var from []model.CreateOption
	result := "created"
	switch {
	case r.Template != "" && r.From != "":
		return badRequest("template and from are both given: a database is a copy of one")
	case r.Template != "":
		from, result = append(from, model.FromTemplate(r.Template)), fmt.Sprintf("created from the template %q", r.Template)
	case r.From != "":
		from, result = append(from, model.FromWorkspace(r.From)), fmt.Sprintf("created from the workspace %q", r.From)
	}
	ctx, stop := s.waitForLeases(c, workspaceTimeout)
	defer stop()
	err := s.pool.CreateWorkspace(ctx, r.WorkspaceID, from...)
	s.audit(c, "create workspace", r.WorkspaceID, result, err)
	if errors.Is(err, model.ErrNoWorkspace) {
		return &failure{status: http.StatusNotFound, message: "the workspace in from has no database", cause: err}
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, workspaceAnswer{r.WorkspaceID})
}

func (s *Server) listWorkspaces(c echo.Context) error {
	opts, err := readListOptions(c.QueryParams())
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(c.Request().Context(), workspaceTimeout)
	defer stop()
	ids, err := s.pool.ListWorkspaces(ctx, opts)
	if err != nil {
		return err
	}
	if ids == nil {
		ids = []model.WorkspaceID{} // [], not null
	}
	list := workspaceList{Workspaces: ids}
	if len(ids) == opts.Limit {
		list.Next = ids[len(ids)-1]
	}
	return c.JSON(http.StatusOK, list)
}

// readListOptions reads the parameters after, prefix and limit.
func readListOptions(query url.Values) (model.ListOptions, error) {
	var opts model.ListOptions
	for name, values := range query {
		value := values[0]
		if len(values) > 1 {
			return opts, badRequest("the parameter %q is given %d times", shortened(name), len(values))
		}
		switch name {
		case "after":
			opts.After = model.WorkspaceID(value)
		case "prefix":
			opts.Prefix = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return opts, badRequest("limit is %q: it must be from 1 to %d", shortened(value), model.ListAtMost)
			}
			opts.Limit = n
		default:
			return opts, badRequest("there is no parameter %q here: after, prefix and limit are", shortened(name))
		}
	}
	opts, err := opts.WithDefaults()
	if err != nil {
		return opts, badRequest("%v", err)
	}
	return opts, nil
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
	action := "delete workspace"
	var how []model.DropOption
	if r.Force {
		action, how = "delete workspace with force", append(how, model.Force)
	}
	err := s.pool.DropWorkspace(ctx, r.WorkspaceID, how...)
	return s.acted(c, action, r.WorkspaceID, "deleted", err, workspaceAnswer{r.WorkspaceID})
}

// renameWorkspace answers with the new id.
func (s *Server) renameWorkspace(c echo.Context) error {
	var r renameRequest
	if err := s.readJSON(c, &r); err != nil {
		return err
	}
	if err := namesWorkspace(c, r.WorkspaceID); err != nil {
		return err
	}
	if err := r.To.Validate(); err != nil {
		return badRequest("to is not valid: %v", err)
	}
	ctx, stop := s.waitForLeases(c, workspaceTimeout)
	defer stop()
	err := s.pool.RenameWorkspace(ctx, r.WorkspaceID, r.To)
	if errors.Is(err, model.ErrWorkspaceExists) {
		err = &failure{status: http.StatusConflict, message: "the workspace in to has a database already", cause: err}
	}
	return s.acted(c, "rename workspace", r.WorkspaceID, fmt.Sprintf("renamed to %q", r.To), err, workspaceAnswer{r.To})
}
