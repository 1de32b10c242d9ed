package door

import (
	"path"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Grant is what a credential opens.
type Grant struct {
	// User is who it is, for lists and logs.
	User string
	// Workspaces are the ids that it opens; a * in one stands for any characters.
	Workspaces []string
	// Console is what it may do in the console.
	Console ConsoleRole
	// Pooling is how its clients are served; zero: as Options.Pooling says.
	Pooling Pooling
	// Until is when it ends, for a token: no later transaction begins. Zero: never.
	Until time.Time
}

// Opens tells whether the workspace is one of those that the grant names.
func (g *Grant) Opens(id model.WorkspaceID) bool {
	for _, pattern := range g.Workspaces {
		if ok, err := path.Match(pattern, string(id)); ok && err == nil {
			return true
		}
	}
	return false
}

// ConsoleRole is what a client may do in the console.
type ConsoleRole uint8

const (
	// NoConsole may not enter it.
	NoConsole ConsoleRole = iota
	// Viewer may SHOW.
	Viewer
	// Admin may also steer: PAUSE, RESUME, KILL and so on.
	Admin
)

// Pooling says for how long a client keeps its server connection.
type Pooling uint8

const (
	_ Pooling = iota
	// TransactionPooling: from the first message of a transaction to its end.
	TransactionPooling
	// SessionPooling: from its first message to its end.
	SessionPooling
)
