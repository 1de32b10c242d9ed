//go:build unix

package bench

import (
	"os/exec"
	"syscall"
)

// detach has cmd run in a session of its own, where the terminal's Ctrl-C does
// not reach it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// kill ends cmd and its children.
func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
