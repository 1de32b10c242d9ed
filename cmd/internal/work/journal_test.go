package work

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// writeJournal returns its name and text.
func writeJournal(t *testing.T) (name string, text []byte) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "j")
	j, err := OpenJournal(name, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.begin(header{Sum: "sum", Server: "1"}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, id := range []model.WorkspaceID{"a", "b", "c"} {
		all.Go(func() {
			for _, state := range []State{Begun, Committing, Done} {
				if err := j.append(entry{Workspace: id, State: state, XID: "7"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name, text
}

// A process may be killed, or a machine crash, at any byte.
func TestAJournalThatWasTornAnywhere(t *testing.T) {
	name, text := writeJournal(t)
	if n := bytes.Count(text, []byte("\n")); n != 10 {
		t.Fatalf("%d lines:\n%s", n, text)
	}
	for _, junk := range []string{"", "\x00\x00\x00", "\x00\n"} {
		for size := range len(text) + 1 {
			torn := append(bytes.Clone(text[:size]), junk...)
			whole := text[:bytes.LastIndexByte(text[:size], '\n')+1]
			if size < len(text) && junk != "" && len(whole) == 0 {
				continue // that is some other file
			}
			if err := os.WriteFile(name, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := OpenJournal(name, "x")
			if err != nil {
				t.Fatalf("%d bytes and %q: %v", size, junk, err)
			}
			if err := j.begin(header{Sum: "sum", Server: "1"}); err != nil {
				t.Fatal(err)
			}
			if err := j.append(entry{Workspace: "d", State: Failed}); err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if now, _ := os.ReadFile(name); !bytes.HasPrefix(now, whole) || !bytes.HasSuffix(now, []byte("}\n")) {
				t.Errorf("%d bytes and %q: something is left of the torn line:\n%s", size, junk, now)
			}
			again, err := OpenJournal(name, "x")
			if err != nil {
				t.Fatalf("%d bytes and %q: %v", size, junk, err)
			}
			known := 0
			for _, id := range []model.WorkspaceID{"a", "b", "c"} {
				if again.Earlier(id) == Done {
					known++
				}
			}
			if want := bytes.Count(whole, []byte(`"done"`)); known != want || again.Earlier("d") != Failed || again.Earlier("e") != NotBegun {
				t.Errorf("%d bytes and %q: %d are done, want %d; d is %s", size, junk, known, want, again.Earlier("d"))
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAFileThatIsNoJournalStaysAsItIs(t *testing.T) {
	_, text := writeJournal(t)
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	for _, other := range []string{
		"a diary", "a diary\n", "a\nb\nc\n", `{"some":"json"}` + "\n", "\n",
		strings.Replace(string(first), `:1,`, `:2,`, 1) + "\n",
		string(first) + "\nhello\n" + string(rest),
	} {
		name := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(name, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(name, "x")
		if err == nil {
			t.Errorf("%q is a journal", other)
			j.Close()
		} else if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "name") {
			t.Error(err)
		}
		if now, _ := os.ReadFile(name); string(now) != other {
			t.Errorf("%q became %q", other, now)
		}
	}
	if _, err := OpenJournal(filepath.Join(t.TempDir(), "no", "j"), "x"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func TestAJournalHasOneRun(t *testing.T) {
	name, _ := writeJournal(t)
	j, err := OpenJournal(name, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(name, "x"); err == nil || !strings.Contains(err.Error(), "another run has it open") {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = OpenJournal(name, "x"); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, other := range []header{{Sum: "other", Server: "1"}, {Sum: "sum", Server: "2"}} {
		if err := j.begin(other); err == nil || !strings.Contains(err.Error(), "or name a new file") {
			t.Errorf("%+v: %v", other, err)
		}
	}
}
