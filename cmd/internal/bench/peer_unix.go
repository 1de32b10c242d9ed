//go:build unix

package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// separate has cmd run in a session of its own, where the terminal's Ctrl-C does not
// reach it; and for root as another user, who gets the files, because PgBouncer refuses
// to run as root.
func separate(cmd *exec.Cmd, files []string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr != nil || gidErr != nil {
			continue
		}
		for _, file := range files {
			if err := os.Chown(file, int(uid), int(gid)); err != nil {
				return fmt.Errorf("give its files to the user %s: %w", name, err)
			}
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return nil
	}
	return errors.New("it should not run as root, and there is neither a user postgres nor a user nobody: add one, or start this program as another user")
}

// kill ends cmd and its children.
func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
