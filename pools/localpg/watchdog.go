package localpg

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

//go:embed watchdog.sh
var watchdogScript string

// watchdog is the child process that cleans up when we no longer can.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File // the write end; nobody else has it
}

// startWatchdog guards folder, which need not exist yet: started before the
// folder is made, it leaves no moment in which our death would leave it behind.
func startWatchdog(folder string) (*watchdog, error) {
	read, write, err := os.Pipe() // both ends are closed on exec
	if err != nil {
		return nil, fmt.Errorf("localpg: make the watchdog's pipe: %w", err)
	}
	defer func() { _ = read.Close() }()

	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "localpg-watchdog", folder)
	cmd.Stdin = read
	cmd.Dir = "/" // it must not keep anybody's folder busy
	cmd.Env = environment()
	// Root stays root here: it must end another user's processes. Output goes
	// to /dev/null: whoever reads our output waits for its last writer.
	account{}.detach(cmd)
	if err := cmd.Start(); err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("localpg: start the watchdog: %w", err)
	}
	return &watchdog{cmd: cmd, pipe: write}, nil
}

// finish has the watchdog remove what is left, and waits for it. patience
// bounds the time.
func (w *watchdog) finish(patience time.Duration) error {
	_, _ = io.WriteString(w.pipe, "stopped\n") // fails when it was killed: Wait tells
	_ = w.pipe.Close()
	timer := time.AfterFunc(patience, func() { _ = w.cmd.Process.Kill() })
	defer timer.Stop()
	if err := w.cmd.Wait(); err != nil {
		return errors.New("localpg: the watchdog did not end well: " + err.Error())
	}
	return nil
}
