//go:build unix

package localpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// childMode names the variable that turns this test binary into a program that
// starts a server and then dies in the way the variable says.
const childMode = "LOCALPG_TEST_CHILD"

func runChild(mode string) {
	s, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	// A child that outlives us must not hold the watchdog's pipe open.
	other := exec.Command("sleep", "300")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no signal to our group reaches it
	if err := other.Start(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	interrupts := make(chan os.Signal, 1)
	if mode == "drain" {
		signal.Notify(interrupts, os.Interrupt)
	}
	fmt.Println(s.folder, s.postmaster.process.Pid, s.watchdog.cmd.Process.Pid, other.Process.Pid)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test has looked

	switch mode {
	case "exit":
		os.Exit(0)
	case "panic":
		panic("as a test does that takes too long")
	case "drain":
		<-interrupts
		err := s.CreateDatabases(context.Background(), "made_after_the_interrupt")
		fmt.Println("drained:", err, strings.Contains(s.logSince(0), "shutdown request"))
		if err := s.Stop(); err != nil {
			fmt.Println("error:", err)
		}
		os.Exit(0)
	}
	select {}
}

// child is a program of runChild in a process group of its own, as a shell
// starts it.
type child struct {
	cmd                         *exec.Cmd
	stdin                       io.WriteCloser
	stdout                      *bufio.Reader
	folder                      string
	postmaster, watchdog, other int
}

// startChild starts one whose server will lie in dir.
func startChild(t *testing.T, mode, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"="+mode, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, c.stdout) // to its end: nobody else holds our output
		_ = cmd.Wait()
		if c.other != 0 {
			_ = syscall.Kill(c.other, syscall.SIGKILL)
		}
	})
	return c
}

// ready reads where the child's server is.
func (c *child) ready(t *testing.T) {
	t.Helper()
	line, err := c.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if _, err := fmt.Sscan(line, &c.folder, &c.postmaster, &c.watchdog, &c.other); err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	if leftBehind(c.folder) == "" || gone(c.postmaster) || gone(c.watchdog) {
		t.Fatal("the child's server does not run, so this test shows nothing")
	}
}

func TestWhenTheProgramDiesNothingIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		mode   string
		signal syscall.Signal // to the child's process group, as a terminal does
	}{
		"killed":      {"block", syscall.SIGKILL},
		"interrupted": {"block", syscall.SIGINT},
		"hung up":     {"block", syscall.SIGHUP},
		"panic":       {"panic", 0},
		"exit":        {"exit", 0},
	} {
		if !long && name != "killed" && name != "panic" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, test.mode, openTemp(t))
			c.ready(t)
			log, err := os.Open(filepath.Join(c.folder, logFile)) // to be read once it is removed
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = log.Close() }()
			// Whoever tells every process to end must not end the watchdog first.
			for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
				if err := syscall.Kill(c.watchdog, signal); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
				t.Fatal(err)
			}
			if test.signal != 0 {
				if err := syscall.Kill(-c.cmd.Process.Pid, test.signal); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, func() string { return leftBehind(c.folder) })
			eventually(t, func() string {
				if !gone(c.postmaster) {
					return "the postmaster is left"
				}
				if !gone(c.watchdog) {
					return "the watchdog is left"
				}
				return ""
			})
			if text, err := io.ReadAll(log); !strings.Contains(string(text), "database system is shut down") {
				t.Errorf("the server did not end in good order: %s, %v", text, err)
			}
			if gone(c.other) {
				t.Error("the child's other child is gone, so it did not show that it has no part in the pipe")
			}
		})
	}
}

func TestKilledWhileStarting(t *testing.T) {
	stages := []string{dataFolder + "/base", dataFolder + "/postmaster.pid"}
	if long {
		stages = append(stages, "", dataFolder)
	}
	for _, stage := range stages {
		t.Run("once there is "+filepath.Base("folder/"+stage), func(t *testing.T) {
			t.Parallel()
			dir := openTemp(t)
			c := startChild(t, "block", dir)
			var folder string
			eventually(t, func() string {
				if found := entries(t, dir); len(found) > 0 {
					folder = found[0]
				}
				if _, err := os.Stat(filepath.Join(folder, stage)); folder == "" || err != nil {
					return "the stage is not reached"
				}
				return ""
			})
			if err := c.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string { return leftBehind(folder) })
		})
	}
}

func TestAnInterruptReachesTheProgramOnly(t *testing.T) {
	t.Parallel()
	c := startChild(t, "drain", openTemp(t))
	c.ready(t)
	for name, pid := range map[string]int{"the postmaster": c.postmaster, "the watchdog": c.watchdog} {
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("%s is in process group %d, want its own, %d (%v)", name, group, pid, err)
		}
	}
	if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if line, err := c.stdout.ReadString('\n'); line != "drained: <nil> false\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	eventually(t, func() string { return leftBehind(c.folder) })
}
