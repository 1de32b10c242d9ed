package bench

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// account is who runs PgBouncer, which refuses to run as root. Without a name it
// is the user we are.
type account struct {
	name     string
	uid, gid int
}

// unprivileged is the user we are, or another one for root.
func unprivileged() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(found.Uid)
		gid, gidErr := strconv.Atoi(found.Gid)
		if uidErr == nil && gidErr == nil {
			return account{name, uid, gid}, nil
		}
	}
	return account{}, errors.New("PgBouncer refuses to run as root, and there is neither a user postgres nor a user nobody: add one, or start this program as another user")
}

// own gives the account files that we have made.
func (a account) own(paths ...string) error {
	if a.name == "" {
		return nil
	}
	for _, path := range paths {
		if err := os.Chown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("give PgBouncer's files to the user %s: %w", a.name, err)
		}
	}
	return nil
}
