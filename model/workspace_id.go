package model

import "fmt"

// WorkspaceID names a workspace, that is a tenant with a database of its own.
// The zero value names none; a valid one is made by [ParseWorkspaceID] or
// passes Validate.
type WorkspaceID string

// MaxNameLength is how many bytes PostgreSQL keeps of a name (NAMEDATALEN - 1);
// it cuts longer ones silently.
const MaxNameLength = 63

// ParseWorkspaceID returns s as a WorkspaceID, or an error that says what is
// wrong with it: empty, longer than MaxNameLength, or with a character outside
// [A-Za-z0-9_-].
func ParseWorkspaceID(s string) (WorkspaceID, error) {
	id := WorkspaceID(s)
	return id, id.Validate()
}

// Validate is the check of [ParseWorkspaceID].
func (id WorkspaceID) Validate() error {
	switch {
	case id == "":
		return &WorkspaceIDError{id, "it is empty"}
	case len(id) > MaxNameLength:
		return &WorkspaceIDError{id, fmt.Sprintf("it has %d bytes, more than %d", len(id), MaxNameLength)}
	}
	for i := range len(id) {
		if !nameByte(id[i]) {
			return &WorkspaceIDError{id, fmt.Sprintf("byte %d (%q) is not one of A-Z a-z 0-9 _ -", i, id[i])}
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// WorkspaceIDError says why a workspace id is not accepted.
type WorkspaceIDError struct {
	ID     WorkspaceID
	Reason string
}

func (e *WorkspaceIDError) Error() string {
	id := e.ID
	const shown = 80
	if len(id) > shown {
		id = id[:shown] + "..."
	}
	return fmt.Sprintf("workspace id %q: %s", id, e.Reason)
}
