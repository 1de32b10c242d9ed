package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/pools"
)

// workspaces runs the command with that standard input.
func (s *execStage) workspaces(input string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetIn(strings.NewReader(input))
	status = execute(s.t.Context(), root, append([]string{"workspaces"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

func TestWorkspacesAreListedCreatedRenamedAndDropped(t *testing.T) {
	s := setExec(t, 3)
	do := func(want int, says, input string, args ...string) (stdout string) {
		t.Helper()
		status, stdout, stderr := s.workspaces(input, args...)
		if status != want || !strings.Contains(stderr, says) {
			t.Errorf("%q: status %d, want %d with %q\n%s", args, status, want, says, stderr)
		}
		return stdout
	}
	listed := func(want string, args ...string) {
		t.Helper()
		if got := strings.Join(strings.Fields(do(0, "", "", append([]string{"list"}, args...)...)), " "); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	listed("w000 w001 w002")
	listed("w001", "--prefix", "w001")
	do(0, "", "", "create", "copy", "--from", "w000")
	do(1, "has a database already", "", "create", "copy")
	do(0, "", "", "create", "new", "--template", "template0")
	do(0, "", "", "rename", "new", "newer")
	listed("copy newer w000 w001 w002")

	do(1, "use --yes", "", "drop", "newer")
	do(1, "that is not the id", "new\n", "drop", "newer")
	do(1, "that is not the id", "y\n", "drop", "newer")
	listed("copy newer w000 w001 w002")
	do(0, "Type the id", "newer\n", "drop", "newer")
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConnections = 10
	serving, err := pools.Open(t.Context(), cfg, pools.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = serving.Close(context.Background()) })
	if err := serving.Workspace("copy").Ping(t.Context()); err != nil { // and it stays connected
		t.Fatal(err)
	}
	do(1, "in use by other processes", "", "drop", "copy", "--yes")
	do(0, "", "", "drop", "copy", "--yes", "--force")
	do(1, "has no database", "", "drop", "copy", "--yes")
	listed("w000 w001 w002")
}

func TestWorkspacesOfATable(t *testing.T) {
	s := setExec(t, 1)
	table := "t" + strings.ToLower(t.Name())
	if _, err := s.look.System().Exec(t.Context(), fmt.Sprintf(`CREATE TABLE %[1]s (workspace_id text PRIMARY KEY, database text UNIQUE); GRANT ALL ON %[1]s TO PUBLIC`, table)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.look.System().Exec(context.Background(), `DROP TABLE `+table) })
	for _, args := range [][]string{{"create", "a"}, {"create", "b"}, {"rename", "a", "c"}, {"drop", "b", "--yes"}} {
		if status, _, stderr := s.workspaces("", append(args, "--table", table)...); status != 0 {
			t.Fatal(args, stderr)
		}
	}
	t.Setenv("DB_WORKSPACE_TABLE", table)
	if status, _, stderr := s.exec("--all", "--command", "true"); status != exitMisused || !strings.Contains(stderr, "DB_WORKSPACE_TABLE") {
		t.Error(status, stderr) // it would be of another database
	}
	if status, _, stderr := s.exec("--all", "--sql", "CREATE TABLE here ()"); status != 0 {
		t.Error(stderr)
	}
	if status, stdout, stderr := s.workspaces("", "list"); status != 0 || stdout != "c\n" {
		t.Error(status, stdout, stderr)
	}
	if status, _, stderr := s.workspaces("", "drop", "c", "--yes", "--table", table); status != 0 {
		t.Error(stderr)
	}
	if status, _, stderr := s.exec("--all", "--sql", "SELECT 1"); status != 1 || !strings.Contains(stderr, "check DB_WORKSPACE_TABLE") {
		t.Error(status, stderr)
	}
}

func TestAWrongCommandLineOfWorkspacesAsksNobody(t *testing.T) {
	t.Setenv("DB_HOST", "nowhere.invalid")
	for _, args := range []string{
		"list a", "list --prefix a/b", "create", "create a b", "create a/b", "create a --template t --from b", "drop", "drop --yes", "drop a b", "rename a", "rename a b/c", "liszt",
	} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), append([]string{"workspaces"}, strings.Fields(args)...), &out, &errs); status != exitMisused || !strings.Contains(errs.String(), "--help") {
			t.Errorf("%s: %d %s", args, status, errs.String())
		}
	}
}

// A drop that is interrupted before it is confirmed drops nothing.
func TestAnInterruptEndsTheQuestion(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	root := newRoot()
	in, never := io.Pipe()
	t.Cleanup(func() { _ = never.Close() })
	root.SetIn(in)
	var out, errs bytes.Buffer
	if status := execute(ctx, root, []string{"workspaces", "drop", "a"}, &out, &errs); status != exitInterrupted || !strings.Contains(errs.String(), "nothing was dropped") {
		t.Errorf("%d %s", status, errs.String())
	}
}
