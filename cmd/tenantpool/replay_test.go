package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools"
)

// slowDialer opens in 10 ms and closes in 5 ms. It does not open "broken".
type slowDialer struct{}

type slowConn struct{}

func (slowConn) Close(model.CloseReason) { time.Sleep(5 * time.Millisecond) }

func (slowDialer) Dial(_ context.Context, id model.WorkspaceID) (actor.Conn, error) {
	time.Sleep(10 * time.Millisecond)
	if id == "broken" {
		return nil, errors.New("the door \x1b[31mis red")
	}
	return slowConn{}, nil
}

// scene is a supervisor of two connections whose recording a test replays.
type scene struct {
	t *testing.T
	*actor.Supervisor
}

// uses has a connection for so long, if it gets one within a second, on a goroutine
// of its own.
func (s scene) uses(id model.WorkspaceID, d time.Duration) {
	go func() {
		l, err := s.Acquire(s.t.Context(), 0, id, actor.Wait{AtMost: time.Second})
		if err == nil {
			time.Sleep(d)
			l.Release(core.Clean)
		}
	}()
	synctest.Wait()
}

// recorded is what a real supervisor recorded while f ran, as JSON.
func recorded(t *testing.T, f func(scene)) (recordings []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		limits := model.Limits{
			Budget: 2, PerWorkspace: 1, MaxWaiters: 10, MaxWaitersPerWorkspace: 10, MaxDialing: 2, Patience: 20 * time.Millisecond,
			BackoffMin: 100 * time.Millisecond, BackoffMax: 100 * time.Millisecond, CloseGrace: time.Second, ProbeAfter: time.Second,
		}
		s := scene{t, actor.Start(actor.Share{Limits: limits, Dialer: slowDialer{}}, actor.Share{Limits: limits, Dialer: slowDialer{}, System: true})}
		f(s)
		all, err := s.Recordings(t.Context())
		if err != nil {
			t.Error(err)
		}
		if recordings, err = json.Marshal(all); err != nil {
			t.Error(err)
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return recordings
}

// aBusyPool: beta and gamma have the two connections; delta, acme and acme again
// wait for 50 ms and more.
func aBusyPool(s scene) {
	s.uses("beta", 60*time.Millisecond)
	time.Sleep(time.Millisecond)
	s.uses("gamma", 200*time.Millisecond)
	time.Sleep(19 * time.Millisecond)
	s.uses("delta", 30*time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	s.uses("acme", 40*time.Millisecond)
	time.Sleep(time.Millisecond)
	s.uses("acme", 40*time.Millisecond)
	time.Sleep(time.Second)
}

// trouble: acme is paused, broken cannot be dialed, and late waits still.
func trouble(s scene) {
	s.uses("beta", 200*time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	if _, err := s.Pause(s.t.Context(), 0, "acme"); err != nil {
		s.t.Error(err)
	}
	s.uses("acme", time.Millisecond)
	time.Sleep(time.Millisecond)
	s.uses("broken", time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	if err := s.Resume(s.t.Context(), 0, "acme"); err != nil {
		s.t.Error(err)
	}
	time.Sleep(time.Second)
	few := core.SetLimits{Budget: 1, PerWorkspace: 1}
	if err := s.SetLimits(s.t.Context(), few, few); err != nil {
		s.t.Error(err)
	}
	s.uses("late", 10*time.Second)
	time.Sleep(100 * time.Millisecond)
	s.uses("late", time.Second)
	time.Sleep(time.Millisecond)
}

func saved(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// zipped is a dump with these entries.
func zipped(t *testing.T, entries map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range entries {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shows checks what the command prints, from the line on that begins so.
func shows(t *testing.T, file, flags, from, want string) {
	t.Helper()
	status, out, stderr := called(t, append([]string{"replay", file}, strings.Fields(flags)...)...)
	if status != 0 || stderr != "" {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	at := strings.Index(out, from)
	if at < 0 || !strings.HasPrefix(out[at:], want) {
		t.Errorf("replay %s prints\n%s\nwant in it\n%s", flags, out, want)
	}
	if strings.ContainsRune(out, '\x1b') {
		t.Errorf("replay %s sends an escape: %q", flags, out)
	}
}

func TestReplayTellsWhatTheFileHoldsAndTheLongestWaits(t *testing.T) {
	file := saved(t, zipped(t, map[string][]byte{"runtime.trace": []byte("x"), "messages.json": recorded(t, aBusyPool)}))
	shows(t, file, "", "The workspaces", `The workspaces' share from 2000-01-01T00:00:00Z to 2000-01-01T00:00:01.026Z: messages: 19, budget: 2, granted by the server: 2, at most for one workspace: 1, eviction: lru
  acquires that waited: 5
    144ms: --workspace "acme" --lease 5, then grant 5 conn 4 of acme after 144ms
        halfway it waited because: connection limit reached: it holds 0 of the 1 connections one workspace may have; 2 waiting (2 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS_PER_DB; before it: 1, of its workspace 1
    105ms: --workspace "acme" --lease 4, then grant 4 conn 4 of acme after 105ms
        halfway it waited because: connection limit reached: 2 of 2 connections are taken and none is idle; 3 waiting (2 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS; before it: 1, of its workspace 0
    65ms: --workspace "delta" --lease 3, then grant 3 conn 3 of delta after 65ms
`)
	shows(t, file, "", "The system", `The system database's share from 2000-01-01T00:00:00Z to 2000-01-01T00:00:01.026Z: messages: 1, budget: 2, granted by the server: 2, at most for one workspace: 1, eviction: lru
  acquires that waited: 0
`)
}

// The scene in words: the comment at aBusyPool and the times of slowDialer.
func TestReplayTellsStepByStepWhyAWorkspaceWaited(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--workspace acme", "00:00:00.02", `00:00:00.0250  acquire 4 acme
                   lease 4 of "acme" waits because: connection limit reached: 2 of 2 connections are taken and none is idle; 2 waiting (1 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS; before it: 1, of its workspace 0
00:00:00.0260  acquire 5 acme
00:00:00.0700  release 1 conn 1 clean at 70.000001ms (beta); close 1 of beta: make_room, for delta
00:00:00.0750  closed 1 (beta); dial 3 for delta
00:00:00.0850  dialed 3 (delta); grant 3 conn 3 of delta after 65ms
                   lease 4 of "acme" waits because: connection limit reached: 2 of 2 connections are taken and none is idle; 2 waiting (2 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS; before it: 0, of its workspace 0
00:00:00.1150  release 3 conn 3 clean at 115.000001ms (delta); close 3 of delta: make_room, for acme
00:00:00.1200  closed 3 (delta); dial 4 for acme
                   lease 4 of "acme" waits because: its connection was still being opened; allow more time, or check the server's load; before it: 0, of its workspace 0
00:00:00.1300  dialed 4 (acme); grant 4 conn 4 of acme after 105ms
                   lease 5 of "acme" waits because: connection limit reached: it holds 1 of the 1 connections one workspace may have; 1 waiting (1 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS_PER_DB; before it: 0, of its workspace 0
00:00:00.1700  release 4 conn 4 clean at 170.000001ms (acme); grant 5 conn 4 of acme after 144ms
`)
}

func TestReplayTellsOfOneAcquire(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--workspace acme --lease 5", "00:00:00.0", `00:00:00.0260  acquire 5 acme
`)
	shows(t, saved(t, recorded(t, aBusyPool)), "--workspace acme --lease 5", "00:00:00.11", `00:00:00.1150  release 3 conn 3 clean at 115.000001ms (delta); close 3 of delta: make_room, for acme
00:00:00.1200  closed 3 (delta); dial 4 for acme
00:00:00.1300  dialed 4 (acme); grant 4 conn 4 of acme after 105ms
                   lease 5 of "acme" waits because: connection limit reached: it holds 1 of the 1 connections one workspace may have; 1 waiting (1 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS_PER_DB; before it: 0, of its workspace 0
00:00:00.1700  release 4 conn 4 clean at 170.000001ms (acme); grant 5 conn 4 of acme after 144ms
`)
}

func TestReplayTellsOfTrouble(t *testing.T) {
	file := saved(t, recorded(t, trouble))
	shows(t, file, "--workspace acme", "00:00:00.02", `00:00:00.0200  acquire 2 acme
                   lease 2 of "acme" waits because: the workspace is paused, or in exclusive use; it is served again after that; before it: 0, of its workspace 0
00:00:00.3210  resume acme; dial 6 for acme
                   lease 2 of "acme" waits because: its connection was still being opened; allow more time, or check the server's load; before it: 0, of its workspace 0
00:00:00.3310  dialed 6 (acme); grant 2 conn 6 of acme after 311ms
`)
	shows(t, file, "--workspace broken", "00:00:00.02", `00:00:00.0210  acquire 3 broken; dial 2 for broken
                   lease 3 of "broken" waits because: its connection was still being opened; allow more time, or check the server's load; before it: 1, of its workspace 0
00:00:00.0310  dial-failed 2 transient (broken): the door �[31mis red
                   lease 3 of "broken" waits because: the door �[31mis red; the next dial may start in 80.8ms; before it: 1, of its workspace 0
00:00:00.1118  tick; dial 3 for broken
`)
	shows(t, file, "--workspace broken", "00:00:01.0", `00:00:01.0210  cancel 3 (broken); reject 3: dial of broken failed transient, attempts 13
`)
	shows(t, file, "", `    1ms: --workspace "late" --lease 5`, `    1ms: --workspace "late" --lease 5, then it waits still
        halfway it waited because: connection limit reached: it holds 1 of the 1 connections one workspace may have; 1 waiting (1 for this workspace); hold connections for a shorter time or raise DB_MAX_CONNECTIONS_PER_DB; before it: 0, of its workspace 0
`)
	shows(t, file, "--workspace late", "lease 5 waits still", `lease 5 waits still
`)
}

func TestReplayShowsEveryStepInTheWordsOfTheCore(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--all", "00:00:00.070", `00:00:00.0700  release 1 conn 1 clean at 70.000001ms (beta); close 1 of beta: make_room, for delta; wake at 1.070000001s
00:00:00.0750  closed 1 (beta); dial 3 for delta; wake never
`)
}

func TestReplayStopsAfterSomeLinesAndSaysHowToSeeMore(t *testing.T) {
	file := saved(t, recorded(t, aBusyPool))
	shows(t, file, "--workspace acme --lines 2", "00:00:00.02", `00:00:00.0250  acquire 4 acme
`)
	shows(t, file, "--workspace acme --lines 2", "... and", `... and 14 lines more: --lines 0 shows all
`)
	if _, out, _ := called(t, "replay", file, "--all", "--lines", "0"); strings.Contains(out, "more:") {
		t.Errorf("with --lines 0 there is more than\n%s", out)
	}
}

func TestReplaySaysHowToSeeWhoWaitedWhenTheAskedForDidNot(t *testing.T) {
	file := saved(t, recorded(t, aBusyPool))
	for _, flags := range []string{"--workspace x", "--workspace acme --lease 3"} {
		shows(t, file, flags, "  it did", `  it did not wait: without --workspace and --lease you see who did
`)
	}
}

func TestReplayReadsADumpTheJSONInItAndStandardInput(t *testing.T) {
	recording := recorded(t, aBusyPool)
	dump := zipped(t, map[string][]byte{"about.json": []byte("{}"), "runtime.trace": []byte("x"), "messages.json": recording})
	_, want, _ := called(t, "replay", saved(t, recording), "--all")
	if _, got, stderr := called(t, "replay", saved(t, dump), "--all"); got != want || stderr != "" || want == "" {
		t.Errorf("from a dump: %s%s", got, stderr)
	}
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"replay", "-", "--all"})
	root.SetIn(bytes.NewReader(recording))
	root.SetOut(&out)
	if err := root.Execute(); err != nil || out.String() != want {
		t.Errorf("from standard input: %v\n%s", err, out.String())
	}
}

// Everything that is text in the file may be anything.
func TestReplaySendsNoEscapesFromTheFileToTheTerminal(t *testing.T) {
	hostile := bytes.ReplaceAll(recorded(t, trouble), []byte(`"broken"`), []byte(`"\u001b[2J\u009b"`))
	file := saved(t, hostile)
	for _, flags := range [][]string{nil, {"--all"}, {"--workspace", "\x1b[2J\u009b"}, {"--workspace", "nobody"}} {
		status, out, stderr := called(t, append([]string{"replay", file}, flags...)...)
		if status != 0 || !strings.Contains(out, "share") || strings.ContainsAny(out+stderr, "\x1b\u009b") {
			t.Errorf("%q: exit status %d, %q, %q", flags, status, out, stderr)
		}
	}
}

func TestReplaySaysWhatIsWrongWithAFile(t *testing.T) {
	good := recorded(t, aBusyPool)
	changed := func(old, with string) []byte {
		t.Helper()
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("a recording has no %s", old)
		}
		return bytes.Replace(good, []byte(old), []byte(with), 1)
	}
	zip := zipped(t, map[string][]byte{"messages.json": good})
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":        {nil, "it is not the JSON of a supervisor's messages"},
		"cut":          {good[:len(good)/2], "it is not the JSON of a supervisor's messages: unexpected end"},
		"no share":     {[]byte("[]"), "it holds no messages"},
		"another JSON": {[]byte(`{"a": 1}`), "it is not the JSON of a supervisor's messages"},
		"a missing part": {
			[]byte(`[{"Image":{"LastConn":1,"Conns":[{"ID":1,"Workspace":"a","State":1}]}},{}]`),
			`share 1 of 2: restore a state: connection 1 of workspace "a" has the state 1, is there twice, or its workspace is not there`,
		},
		"a damaged zip":    {zip[:len(zip)-30], "it is a damaged zip file"},
		"another zip":      {zipped(t, map[string][]byte{"x": good}), "a zip file without an entry messages.json"},
		"unknown message":  {changed(`"Kind":"Acquire"`, `"Kind":"\u001b[2J"`), `there is no message "\x1b[2J"`},
		"impossible state": {changed(`"EffectiveBudget":2`, `"EffectiveBudget":3`), "share 1 of 2: restore a state: I1: effective budget 3 above the budget 2"},
		"another type":     {changed(`"Budget":2`, `"Budget":"2"`), "cannot unmarshal string"},
	} {
		status, out, stderr := called(t, "replay", saved(t, test.data))
		if status != 1 || !strings.Contains(stderr, test.want) || strings.ContainsRune(stderr+out, '\x1b') {
			t.Errorf("%s: exit status %d, %q, want %q", name, status, stderr, test.want)
		}
	}
	if status, _, stderr := called(t, "replay", filepath.Join(t.TempDir(), "none")); status != 1 || !strings.HasSuffix(stderr, "none: no such file or directory\n") {
		t.Errorf("no file: exit status %d, %q", status, stderr)
	}
}

func TestReplaySaysWhatIsWrongWithTheCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"":                      "replay takes one file, not 0",
		"a b":                   "replay takes one file, not 2",
		"a --lease 1":           "--lease needs --workspace",
		"a --all --workspace x": "choose one of them",
		"a --lines -1":          "from 0 to",
	} {
		if status, _, stderr := called(t, append([]string{"replay"}, strings.Fields(args)...)...); status != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit status %d, %q, want %q", args, status, stderr, want)
		}
	}
}

// A zip file of some kilobytes may unpack to any size. What its directory says of that
// is believed only where it is too much.
func TestADumpThatUnpacksToTooMuchIsRefusedBeforeItIsUnpacked(t *testing.T) {
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	entry, err := archive.Create(pools.DumpMessages)
	if err != nil {
		t.Fatal(err)
	}
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	for range mostDump>>20 + 1 {
		if _, err := entry.Write(spaces); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = readDump(bytes.NewReader(packed.Bytes()), "-")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Error(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", n, packed.Len())
	}
}

// FuzzReplay: whatever a file says, there is an error or a page without an escape.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`[{"Image":{"Limits":{"Budget":1,"PerWorkspace":1,"MaxWaiters":9,"MaxWaitersPerWorkspace":9,"MaxDialing":1},"EffectiveBudget":1},` +
		`"Entries":[{"At":1,"Kind":"Acquire","Message":{"Lease":1,"Workspace":"a\u001b"}},{"At":2,"Kind":"DialFailed","Message":{"Conn":1},"Said":"\u001b"}]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		recordings, err := readDump(bytes.NewReader(data), "-")
		if err != nil {
			return
		}
		var page bytes.Buffer
		for _, r := range []replay{{}, {all: true}, {workspace: "a\x1b"}, {workspace: "a\x1b", lease: 1}} {
			r.page = bufio.NewWriter(&page)
			if err := r.run(recordings); err != nil {
				t.Error(err)
			}
		}
		if strings.ContainsRune(page.String(), '\x1b') {
			t.Errorf("%q", page.String())
		}
	})
}
