package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// suite is the test suite of a Go module.
type suite struct {
	module  string // with its version
	known   string // the file with what fails, and why
	options []string
	// notOf, a pattern, are tests that are left out everywhere.
	notOf string
	// notThrough, a pattern, are tests that are left out at the door. They, too, fail there,
	// and do harm: each says which.
	notThrough string
	folder     string // set by copy
}

// verdict is what came of one test of a suite.
type verdict struct {
	action string // pass, fail or skip
	output strings.Builder
}

// run runs the suite in a copy of the module, and compares what fails with what is known.
func (s suite) run(t *testing.T, at place, environment ...string) {
	options := []string{"test", "-json", "-count=1", "-trimpath", "-vet=off", "-p=1", "-timeout=2m"}
	leftOut := []string{s.notOf}
	if at.name != "direct" {
		leftOut = append(leftOut, s.notThrough)
	}
	leftOut = slices.DeleteFunc(leftOut, func(pattern string) bool { return pattern == "" })
	if len(leftOut) > 0 {
		options = append(options, "-skip="+strings.Join(leftOut, "|"))
	}
	cmd := at.command(t, "go", append(options, s.options...)...)
	cmd.Dir = s.folder
	cmd.Env = append(cmd.Env, environment...)
	cmd.Env = append(cmd.Env, "GOFLAGS=-mod=mod", "GOWORK=off")
	var said, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaints
	_ = cmd.Run() // that one fails is no news
	results := verdictsIn(t, s.module, said.Bytes())
	count := map[string]int{}
	failed := map[string]bool{}
	for name, r := range results {
		count[r.action]++
		if r.action == "fail" && !someWithin(results, name) {
			failed[name] = true
		}
	}
	t.Logf("%s, %s: %d pass, %d fail, %d skip", s.module, at.name, count["pass"], len(failed), count["skip"])
	if count["pass"] < 100 {
		t.Fatalf("the suite did not run:\n%s\n%.4000s", complaints.String(), said.String())
	}
	known := s.readKnown(t, at)
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if _, ok := known[name]; !ok {
			t.Errorf("%s fails:\n%s", name, results[name].output.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !failed[name] && !strings.HasPrefix(known[name], "sometimes: ") {
			t.Errorf("%s passes, or is not there: take it out of %s", name, s.known)
		}
	}
}

// copy makes a copy of the module, for the suite writes files, and its go.mod names what
// its tests need.
func (s suite) copy(t *testing.T) suite {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", s.module).Output()
	var found struct{ Dir, Error string }
	if json.Unmarshal(out, &found); found.Dir == "" {
		t.Skipf("%s is not installed, and cannot be downloaded: %v %s", s.module, err, found.Error)
	}
	s.folder = filepath.Join(t.TempDir(), "suite")
	if err := os.CopyFS(s.folder, os.DirFS(found.Dir)); err != nil {
		t.Fatal(err)
	}
	return s
}

// verdictsIn reads the output of go test -json. Tests are named package/TestName; a
// package that fails without a test that does is named like itself.
func verdictsIn(t *testing.T, module string, output []byte) map[string]*verdict {
	t.Helper()
	root, _, _ := strings.Cut(module, "@")
	results := map[string]*verdict{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct{ Action, Package, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.Package == "" {
			continue
		}
		name := path.Join(strings.TrimPrefix(event.Package, root), event.Test)
		if name == "" {
			name = path.Base(root)
		}
		name = strings.TrimPrefix(name, "/")
		r := results[name]
		if r == nil {
			r = &verdict{}
			results[name] = r
		}
		switch event.Action {
		case "output":
			r.output.WriteString(event.Output)
		case "fail", "skip", "pass":
			r.action = event.Action
		}
		if event.Test == "" && event.Action != "fail" && event.Action != "output" {
			delete(results, name)
		}
	}
	for name, r := range results {
		// One that had begun when the process ended.
		if r.action == "" && strings.Contains(r.output.String(), "=== RUN") {
			r.action = "fail"
		} else if r.action == "" {
			delete(results, name)
		}
	}
	return results
}

// someWithin tells whether a part of the test or package fails, too.
func someWithin(results map[string]*verdict, name string) bool {
	for other, r := range results {
		if r.action == "fail" && other != name && within(other, name) {
			return true
		}
	}
	return false
}

func within(name, parent string) bool {
	if strings.HasPrefix(name, parent+"/") {
		return true
	}
	return !strings.Contains(parent, "Test") && !strings.Contains(name, "/") && parent != name // the module's own package
}

// readKnown reads what is known to fail at this place. A line says where (transaction,
// session, both, direct or all), which, and why; a reason that begins with "sometimes: "
// is that of a test which may pass.
func (s suite) readKnown(t *testing.T, at place) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", s.known))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 3 {
			t.Fatalf("%s: %q: where, which and why", s.known, line)
		}
		where := fields[0]
		if where == at.name || where == "all" || where == "both" && at.name != "direct" {
			known[fields[1]] = strings.Join(fields[2:], " ")
		}
	}
	return known
}
