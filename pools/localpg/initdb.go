package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// superuser is the role that initdb makes.
const superuser = "postgres"

// initialize makes the data folder, with configuration at the end of its
// postgresql.conf.
func (s *Server) initialize(ctx context.Context, configuration string) error {
	passwordFile := filepath.Join(s.folder, "password")
	if err := os.WriteFile(passwordFile, []byte(s.superuserPassword+"\n"), 0o600); err != nil {
		return fmt.Errorf("localpg: hand initdb the superuser's password: %w", err)
	}
	defer func() { _ = os.Remove(passwordFile) }()
	if err := s.account.own(passwordFile); err != nil {
		return fmt.Errorf("localpg: hand initdb the superuser's password: %w", err)
	}
	log, err := s.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	cmd := exec.CommandContext(ctx, filepath.Join(s.binaries, "initdb"),
		dataArgument(s.folder),
		"--username="+superuser,
		"--pwfile="+passwordFile,
		"--auth=scram-sha-256",
		"--encoding=UTF8",
		"--locale=C",
		"--no-sync",
	)
	cmd.Dir = s.folder // ours may be closed to the account
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log // a file: no goroutine copies, no pipe is held open
	s.account.detach(cmd)
	cmd.Cancel = func() error { return endGroup(cmd.Process.Pid) } // initdb runs postgres
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("localpg: initdb did not finish: %w", context.Cause(ctx))
		}
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("localpg: %s may not run %s: choose other binaries with PG_BIN: %w",
				s.account.who(), cmd.Path, err)
		}
		return fmt.Errorf("localpg: %s: %w\n%s", cmd.Path, err, s.LogTail())
	}

	file, err := os.OpenFile(filepath.Join(s.folder, dataFolder, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("localpg: configure the server: %w", err)
	}
	_, err = io.WriteString(file, configuration)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("localpg: configure the server: %w", err)
	}
	return nil
}

// environment is all that our child processes see of ours: nothing of PG* or
// the locale that would change what they do, and no secret of the program.
func environment() []string {
	const system = "/usr/bin:/bin:/usr/sbin:/sbin"
	path := system
	if ours := os.Getenv("PATH"); ours != "" {
		path = ours + ":" + system
	}
	env := []string{
		"PATH=" + path,
		"LC_ALL=C", // messages in English: some are looked for
		"TZ=UTC",   // otherwise initdb searches for the machine's time zone
	}
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
