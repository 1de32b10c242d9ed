package stage

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
)

// Door is a door on a port of this machine, for one user who may open every workspace.
type Door struct {
	*door.Door
	Port   int
	served chan error
}

// OpenDoor opens one in front of a manager. Whoever calls it closes it before the manager.
func OpenDoor(manager *pools.Manager, user, password string, o door.Options) (*Door, error) {
	folder, err := os.MkdirTemp("", "tenantpool-users-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "users")
	quote := strings.NewReplacer(`"`, `""`)
	line := `"` + quote.Replace(user) + `" "` + quote.Replace(password) + "\" workspaces=*\n"
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		return nil, err
	}
	if o.Users, err = door.ReadUsers(file); err != nil {
		return nil, err
	}
	d := &Door{served: make(chan error, 1)}
	if d.Door, err = door.New(manager, o); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.Port = listener.Addr().(*net.TCPAddr).Port
	go func() { d.served <- d.Serve(listener) }()
	return d, nil
}

// Close ends it, as door.Door's Shutdown.
func (d *Door) Close(ctx context.Context) error {
	return errors.Join(d.Shutdown(ctx), <-d.served)
}
