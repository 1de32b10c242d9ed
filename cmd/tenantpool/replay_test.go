package main

import (
	"archive/zip"
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
	shows(t, file, "", "The workspaces", `The workspaces' share: 19 messages in 1.03 s from 2000-01-01 00:00:00.000 UTC on; budget 2, at most 1 for one workspace
  5 acquire, 5 release, 4 dialed, 2 closed, 2 reclaim, 1 tick
  5 acquires waited, the longest:
    "acme", lease 5: 144.0 ms, then it got connection 4
        for 144.0 ms of it: its workspace may have at most 1, which go to the acquires of it that are before this one (1)
    "acme", lease 4: 105.0 ms, then it got connection 4
        for 95.0 ms of it: all 2 connections are taken (2 in use), and 1 acquire is before it
    "delta", lease 3: 65.0 ms, then it got connection 3
`)
	shows(t, file, "", "The system", `The system database's share: 1 message in 16.0 ms from 2000-01-01 00:00:01.010 UTC on; budget 2, at most 1 for one workspace
  1 tick
  no acquire waited
`)
}

// The scene in words: the comment at aBusyPool and the times of slowDialer.
func TestReplayTellsStepByStepWhyAWorkspaceWaited(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--workspace acme", "   +25", `   +25.0 ms  lease 4 asks for a connection of "acme"
                 why "acme" (lease 4) waits: all 2 connections are taken (2 in use), and 1 acquire is before it
   +26.0 ms  lease 5 asks for a connection of "acme"
   +70.0 ms  connection 1 of "beta" was given back; connection 1 of "beta" is closed: to make room for "delta"
   +75.0 ms  connection 1 of "beta" is gone and its slot free; connection 3 for "delta" is being opened, which has waited 5.0 ms longer
   +85.0 ms  connection 3 of "delta" is open; it went to the next acquire of "delta", which had waited 5.0 ms longer
                 why "acme" (lease 4) waits: all 2 connections are taken (2 in use), and it is the next
  +115.0 ms  connection 3 of "delta" was given back; connection 3 of "delta" is closed: to make room for "acme"
  +120.0 ms  connection 3 of "delta" is gone and its slot free; connection 4 for "acme" is being opened
                 why "acme" (lease 4) waits: its connection is being opened (1 under way for its workspace)
  +130.0 ms  connection 4 of "acme" is open; lease 4 gets connection 4 of "acme" after 105.0 ms
                 why "acme" (lease 5) waits: its workspace has the 1 connections that one may have (1 in use), and it is the next of its workspace
  +170.0 ms  connection 4 of "acme" was given back; lease 5 gets connection 4 of "acme" after 144.0 ms
`)
}

func TestReplayTellsOfOneAcquire(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--workspace acme --lease 5", "   +26", `   +26.0 ms  lease 5 asks for a connection of "acme"
                 why "acme" (lease 5) waits: its workspace may have at most 1, which go to the acquires of it that are before this one (1)
  +115.0 ms  connection 3 of "delta" was given back; connection 3 of "delta" is closed: to make room for "acme"
  +120.0 ms  connection 3 of "delta" is gone and its slot free; connection 4 for "acme" is being opened
  +130.0 ms  connection 4 of "acme" is open
                 why "acme" (lease 5) waits: its workspace has the 1 connections that one may have (1 in use), and it is the next of its workspace
  +170.0 ms  connection 4 of "acme" was given back; lease 5 gets connection 4 of "acme" after 144.0 ms
`)
}

func TestReplayTellsOfTrouble(t *testing.T) {
	file := saved(t, recorded(t, trouble))
	shows(t, file, "--workspace acme", "   +20", `   +20.0 ms  lease 2 asks for a connection of "acme"
                 why "acme" (lease 2) waits: the workspace is paused, or in exclusive use, until that ends
  +321.0 ms  "acme" is resumed; connection 6 for "acme" is being opened
                 why "acme" (lease 2) waits: its connection is being opened (1 under way for its workspace)
  +331.0 ms  connection 6 of "acme" is open; lease 2 gets connection 6 of "acme" after 311.0 ms
`)
	shows(t, file, "--workspace broken", "   +21", `   +21.0 ms  lease 3 asks for a connection of "broken"; connection 2 for "broken" is being opened
                 why "broken" (lease 3) waits: its connection is being opened (1 under way for its workspace)
   +31.0 ms  the dial of connection 2 of "broken" failed (transient, "the door \x1b[31mis red")
                 why "broken" (lease 3) waits: its last dial failed (transient, "the door \x1b[31mis red"); the next dial may start in 80.8 ms
  +111.8 ms  time passed; connection 3 for "broken" is being opened
`)
	shows(t, file, "--workspace broken", " +1.02 s", ` +1.02 s  lease 3 gives up; lease 3 is refused: "connect workspace \"broken\": 13 attempts failed, the last with: the door \x1b[31mis red"
`)
	shows(t, file, "", `    "late", lease 5`, `    "late", lease 5: 1.0 ms, and it waits still
        for 1.0 ms of it: its workspace has the 1 connections that one may have (1 in use), and it is the next of its workspace
`)
	shows(t, file, "--workspace late", "             lease 5", `             lease 5 waits still
`)
}

func TestReplayShowsEveryStepInTheWordsOfTheCore(t *testing.T) {
	shows(t, saved(t, recorded(t, aBusyPool)), "--all", "   +70", `   +70.0 ms  release 1 conn 1 clean at 70.000001ms
                 close 1 of beta: make_room, for delta
                 wake at 1.070000001s
   +75.0 ms  closed 1
                 dial 3 for delta
                 wake never
`)
}

func TestReplayStopsAfterSomeLinesAndSaysHowToSeeMore(t *testing.T) {
	file := saved(t, recorded(t, aBusyPool))
	shows(t, file, "--workspace acme --lines 1", "   +25", `   +25.0 ms  lease 4 asks for a connection of "acme"
... and 12 lines more: --lines 0 shows all
`)
	if _, out, _ := called(t, "replay", file, "--all", "--lines", "0"); strings.Contains(out, "more") {
		t.Errorf("with --lines 0 there is more than\n%s", out)
	}
}

func TestReplaySaysWhoWaitedWhenTheAskedForDidNot(t *testing.T) {
	file := saved(t, recorded(t, aBusyPool))
	shows(t, file, "--workspace x", "no acquire", `no acquire of "x" waited; of these some did: "acme", "beta", "delta", "gamma"
`)
	shows(t, file, "--workspace acme --lease 3", "lease 3", `lease 3 of "acme" did not wait; other acquires of it did: see them without --lease
`)
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
		if status != 0 || !strings.Contains(out, `"\x1b[2J\u009b"`) || strings.ContainsAny(out+stderr, "\x1b\u009b") {
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
			[]byte(`[{"Image":{"LastConn":1,"Conns":[{"ID":1,"Workspace":"a","State":"idle"}]}},{}]`),
			`share 1 of 2: restore a state: connection 1 belongs to workspace "a", which is not there`,
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
