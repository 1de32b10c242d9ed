//go:build unix

package localpg

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// processes returns the living processes of the server in folder: the
// postmaster and initdb by the argument -D, backends by the cluster_name in
// their title. That finds them even when their postmaster is dead, and unlike a
// process number kept in a file it never means a stranger.
//
// watchdog.sh has the same rule.
func processes(folder string) ([]int, error) {
	argument, title := dataArgument(folder), "postgres: "+clusterName(folder)+":"
	commands, err := commandLines()
	if err != nil {
		return nil, err
	}
	var found []int
	for pid, command := range commands {
		if strings.HasPrefix(command, title) || strings.Contains(command, argument) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// dataArgument is how initdb and postgres are told their data folder.
func dataArgument(folder string) string { return "-D" + filepath.Join(folder, dataFolder) }

// commandLines returns the command line of every process that we may look at.
// A process that has ended but was not collected yet has none.
func commandLines() (map[int]string, error) {
	commands := map[int]string{}
	if runtime.GOOS == "linux" { // slim images have no ps
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			command, err := os.ReadFile(file)
			if err != nil {
				continue // it ended just now
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				commands[pid] = string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
			}
		}
		return commands, nil
	}
	list, err := exec.Command("ps", "-A", "-ww", "-o", "pid=", "-o", "args=").Output()
	if err != nil {
		return nil, fmt.Errorf("localpg: list the processes with ps: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		number, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pid, err := strconv.Atoi(number); err == nil {
			commands[pid] = strings.TrimSpace(command)
		}
	}
	return commands, nil
}

// end kills a process that needs no chance to tidy up.
func end(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// endGroup kills a detached process and those of its children that stayed in
// its group.
func endGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }

// lookAtPromote has the postmaster look whether it is to be promoted.
const lookAtPromote = syscall.SIGUSR1

// signal is what a mode sends to the postmaster.
func (m Mode) signal() os.Signal {
	switch m {
	case Smart:
		return syscall.SIGTERM
	case Fast:
		return syscall.SIGINT
	case Immediate:
		return syscall.SIGQUIT
	default:
		return syscall.SIGKILL
	}
}
