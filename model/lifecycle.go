package model

import (
	"cmp"
	"errors"
	"fmt"
)

// CreateOption changes how a workspace is created. FromTemplate and FromWorkspace are
// such options, and so is what WithInit of package pools returns.
type CreateOption interface{ ForCreate() }

// FromTemplate names a database that is copied, in place of template1. Nobody may be
// connected to it meanwhile, and the role must own it unless it is marked as a template.
type FromTemplate string

// FromWorkspace is the workspace that is copied. It is paused meanwhile, as with Pause:
// its leases come home, and nobody else may be connected to its database.
type FromWorkspace WorkspaceID

// ForCreate marks a CreateOption.
func (FromTemplate) ForCreate() {}

// ForCreate marks a CreateOption.
func (FromWorkspace) ForCreate() {}

// DropOption changes how a workspace is dropped.
type DropOption string

// Force has the server end the sessions of other processes in the database.
const Force DropOption = "force"

// ListOptions choose a page of the workspaces.
type ListOptions struct {
	// After is the last id of the page before; "": the page is the first.
	After WorkspaceID
	// Prefix is what the ids begin with; "": any.
	Prefix string
	// Limit is how many ids the page has at most, up to ListAtMost; 0: ListUsually.
	Limit int
}

const (
	// ListUsually is how many ids a page has, and ListAtMost how many it may have.
	ListUsually = 1000
	ListAtMost  = 10_000
)

// WithDefaults returns the options with their defaults, or a *ListError.
func (o ListOptions) WithDefaults() (ListOptions, error) {
	if o.Limit < 0 || o.Limit > ListAtMost {
		return o, &ListError{"limit", fmt.Sprintf("is %d; it must be from 1 to %d, or 0 for %d", o.Limit, ListAtMost, ListUsually)}
	}
	o.Limit = cmp.Or(o.Limit, ListUsually)
	return o, cmp.Or(partOfID("after", string(o.After)), partOfID("prefix", o.Prefix))
}

func partOfID(option, s string) error {
	_, err := ParseWorkspaceID(s)
	if bad, ok := errors.AsType[*WorkspaceIDError](err); ok && s != "" {
		return &ListError{option, "is no part of an id: " + bad.Reason}
	}
	return nil
}

// ListError says which of the ListOptions is not accepted, and why.
type ListError struct{ Option, Reason string }

func (e *ListError) Error() string { return e.Option + " " + e.Reason }
