package pools

import (
	"fmt"
	"strings"

	"github.com/tenantpool/tenantpool/model"
)

// Naming gives the database of a workspace. Two workspaces must never get the
// same one; that is the caller's to guarantee. An error is returned to who asked
// for the workspace, and nothing is dialed.
type Naming func(id model.WorkspaceID) (database string, err error)

// PrefixNaming is the default: <prefix>_ws_<id>.
func PrefixNaming(prefix string) Naming {
	return func(id model.WorkspaceID) (string, error) {
		name := databasePrefix(prefix) + string(id)
		if len(name) > model.MaxNameLength {
			return "", &model.WorkspaceIDError{ID: id, Reason: fmt.Sprintf(
				"its database's name %q would have %d bytes; the server keeps %d and would cut it", name, len(name), model.MaxNameLength)}
		}
		return name, nil
	}
}

func databasePrefix(prefix string) string { return prefix + "_ws_" }

// checked adds to a naming what must hold for all of them. The system database is
// no workspace's: whoever may use one workspace would be in it.
func checked(naming Naming, system string) Naming {
	return func(id model.WorkspaceID) (string, error) {
		if err := id.Validate(); err != nil {
			return "", err
		}
		name, err := naming(id)
		if err != nil {
			return "", fmt.Errorf("database of workspace %q: %w", id, err)
		}
		return name, fitsWorkspace(id, name, system)
	}
}

// fitsWorkspace refuses what cannot be a workspace's database.
func fitsWorkspace(id model.WorkspaceID, name, system string) error {
	switch {
	case name == "", len(name) > model.MaxNameLength, strings.ContainsRune(name, 0):
		return &model.WorkspaceIDError{ID: id, Reason: fmt.Sprintf(
			"the naming gave it the database name %q, which the server cannot take", name)}
	case name == system:
		return &model.WorkspaceIDError{ID: id, Reason: fmt.Sprintf(
			"its database would be %q, the system database (DB_NAME); give that another name", name)}
	}
	return nil
}
