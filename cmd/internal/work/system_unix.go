//go:build unix

package work

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// lock keeps other processes out until the file is closed.
func lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another run has it open: wait for its end, or name another file")
	}
	return err
}

// inOwnGroup keeps a terminal's Ctrl-C from the command, and has all of its processes told
// when it is to end.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}
