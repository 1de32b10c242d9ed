package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/servertest"
)

// asProgram makes the test binary run the real main, so that tests can start the
// program, interrupt it, and see what it leaves behind.
const asProgram = "TENANTPOOL_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	shared.Main(m)
}

// shared is for tests of programs that do not start a server themselves. Each has a
// DB_PREFIX of its own there.
var shared = servertest.Shared{MaxConnections: 40}

// patience bounds every wait; the machine may be busy.
const patience = 5 * time.Minute

// program is a running tenantpool.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	lines  chan string // of standard error
	mu     sync.Mutex
	said   []string // those that were read
	temp   string   // its folder for temporary files
	server string   // the last part of its PostgreSQL's folder, once started
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	p := &program{t: t, lines: make(chan string), temp: openTemp(t)}
	p.cmd = exec.CommandContext(ctx, os.Args[0], args...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+p.temp)
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	return p
}

// next reads standard error's next line.
func (p *program) next() (line string, ok bool) {
	if line, ok = <-p.lines; ok {
		p.mu.Lock()
		p.said = append(p.said, line)
		p.mu.Unlock()
	}
	if strings.HasPrefix(line, "PostgreSQL is up") {
		p.server = p.serverFolder()
	}
	return line, ok
}

// await reads up to a line that begins so.
func (p *program) await(beginning string) {
	p.t.Helper()
	for {
		line, ok := p.next()
		if !ok {
			p.t.Fatalf("it ended before it said %q:\n%s", beginning, p.stderr())
		}
		if strings.HasPrefix(strings.TrimSpace(line), beginning) {
			return
		}
	}
}

func (p *program) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// exit waits for the program's end and returns its status.
func (p *program) exit() int {
	p.t.Helper()
	for ok := true; ok; {
		_, ok = p.next()
	}
	err := p.cmd.Wait()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
}

// insist sends the signal again and again, until the program has ended: one that comes
// within a second of the first does not count.
func (p *program) insist(signal os.Signal) {
	go func() {
		for p.cmd.Process.Signal(signal) == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}()
}

func (p *program) serverFolder() string {
	found, _ := filepath.Glob(filepath.Join(p.temp, "tenantpool-pg-*"))
	if len(found) != 1 {
		p.t.Fatalf("its PostgreSQL's folder is not to be found: %v", found)
	}
	return filepath.Base(found[0])
}

// leftBehind names what is left of the program: files and processes.
func (p *program) leftBehind() (left []string) {
	files, err := filepath.Glob(filepath.Join(p.temp, "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, command := range commands(p.t) {
		if strings.Contains(command, p.temp) || p.server != "" && strings.Contains(command, p.server) {
			left = append(left, command)
		}
	}
	return append(files, left...)
}

// commands are the command lines of all processes.
func commands(t *testing.T) (all []string) {
	t.Helper()
	if runtime.GOOS == "linux" { // slim images have no ps
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			command, _ := os.ReadFile(file) // it may have ended just now
			all = append(all, string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
		return all
	}
	list, err := exec.Command("ps", "-A", "-ww", "-o", "args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(list), "\n")
}

// openTemp is a folder for temporary files that every user may enter: started by
// root, the server runs as another one.
func openTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
