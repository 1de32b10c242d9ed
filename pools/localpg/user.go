//go:build unix

package localpg

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who runs initdb and postgres.
type account struct {
	name       string
	credential *syscall.Credential // nil: the user we are
}

// serverAccount returns the user we are, or an unprivileged one for root,
// which PostgreSQL refuses.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr != nil || gidErr != nil || uid == 0 {
			continue
		}
		return account{name: name, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, fmt.Errorf("localpg: PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody to run it: add one, or start this program as another user")
}

// detach has cmd run as the account in a session of its own, where neither the
// terminal's signals nor those to our process group reach it.
func (a account) detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: a.credential}
}

// own gives the account a file that we have made.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// reaches reports whether the account may enter dir. Only root asks: it makes
// files where the account it switches to cannot go, such as below /root.
func (a account) reaches(dir string) bool {
	if a.credential == nil {
		return true
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		enter := os.FileMode(0o001)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == a.credential.Uid {
			enter = 0o100
		}
		if info.Mode()&enter == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// who names the account in an error.
func (a account) who() string {
	if a.credential == nil {
		return "this user"
	}
	return "the user " + a.name
}
