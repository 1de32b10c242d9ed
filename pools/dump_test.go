package pools_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/trace"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools"
)

// dumped are the entries of a dump.
func dumped(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string][]byte{}
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if entries[file.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return entries
}

func dump(t *testing.T, m *manager) map[string][]byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return dumped(t, b.Bytes())
}

// about is about.json, as far as tests read it.
type about struct {
	At      time.Time
	Why     string
	Build   build.Info
	Config  map[string]any
	Stats   model.Stats
	Missing map[string]string
}

func readAbout(t *testing.T, entries map[string][]byte) about {
	t.Helper()
	var a about
	if err := json.Unmarshal(entries["about.json"], &a); err != nil {
		t.Fatalf("%v in %s", err, entries["about.json"])
	}
	return a
}

// readableTrace fails unless go tool trace reads it to its end.
func readableTrace(t *testing.T, content []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runtime.trace")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), "go", "tool", "trace", "-d=footprint", file).CombinedOutput()
	if err != nil || !bytes.Contains(said, []byte("GoStart")) {
		t.Errorf("go tool trace: %v, %.500s", err, said)
	}
}

func TestADumpHoldsMessagesTraceAndStatistics(t *testing.T) {
	m := open(t, config(20), pools.WithDumps(t.TempDir(), time.Minute))
	for _, id := range []model.WorkspaceID{"w1", "w1", "w2"} {
		conn, err := m.Acquire(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	entries := dump(t, m)
	if len(entries) != 4 {
		t.Errorf("%d entries", len(entries))
	}
	a := readAbout(t, entries)
	if since := time.Since(a.At); since < 0 || since > time.Minute || a.Build.Go == "" || a.Why != "it was asked for" || len(a.Missing) != 0 {
		t.Errorf("%s", entries["about.json"])
	}
	if st := a.Stats; st.MaxConnections != 20 || st.Workspaces.InUse != 3 || st.System.Open() == 0 {
		t.Errorf("%+v", st)
	}
	readableTrace(t, entries["runtime.trace"])
}

// What replays is what the statistics say, which do not come from the recording.
func TestADumpReplaysToTheStateItWasMadeIn(t *testing.T) {
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 2
	m := open(t, cfg)
	var held []*pools.Conn
	for _, id := range []model.WorkspaceID{"w1", "w1", "w2", "w3"} {
		conn, err := m.Acquire(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	held[3].Release()
	for _, conn := range held[:3] {
		defer conn.Release()
	}
	waiting := make(chan struct{})
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		defer close(waiting)
		_, _ = m.Acquire(ctx, "w1")
	}()
	eventually(t, "one waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	entries := dump(t, m)
	giveUp()
	<-waiting

	var recordings []core.Recording
	if err := json.Unmarshal(entries["messages.json"], &recordings); err != nil || len(recordings) != 2 || recordings[0].System || !recordings[1].System {
		t.Fatalf("%v: %.300s", err, entries["messages.json"])
	}
	said := readAbout(t, entries).Stats
	for i, want := range []model.BudgetStats{said.Workspaces, said.System} {
		state, err := core.Restore(recordings[i].Image)
		if err != nil {
			t.Fatal(err)
		}
		var now time.Duration
		for _, e := range recordings[i].Entries {
			state.Step(e.At, e.Message())
			now = e.At
		}
		if err := state.Check(); err != nil {
			t.Error(err)
		}
		if got := state.Stats(now); got.Counts != want.Counts || got.Counters.Dials != want.Counters.Dials || len(got.Active) != len(want.Active) {
			t.Errorf("%+v, want %+v", got.Counts, want.Counts)
		}
	}
	if said.Workspaces.InUse != 3 || said.Workspaces.Idle != 1 || said.Workspaces.Waiting != 1 {
		t.Errorf("%+v", said.Workspaces.Counts)
	}
}

func TestWithoutWithDumpsADumpSaysThatTheTraceIsMissing(t *testing.T) {
	entries := dump(t, open(t, config(20)))
	a := readAbout(t, entries)
	if entries["runtime.trace"] != nil || len(a.Missing) != 1 || !strings.Contains(a.Missing["runtime.trace"], "WithDumps") {
		t.Errorf("%+v", a.Missing)
	}
	if entries["messages.json"] == nil {
		t.Error("no messages")
	}
}

// The second of two flight recorders does not start.
func TestAFlightRecorderOfTheProgramStaysAndTheDumpSaysSo(t *testing.T) {
	theirs := trace.NewFlightRecorder(trace.FlightRecorderConfig{})
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	defer theirs.Stop()
	m := open(t, config(20), pools.WithDumps(t.TempDir(), time.Minute))
	m.log.line(t, "no runtime.trace", "has one already")
	entries := dump(t, m)
	if a := readAbout(t, entries); entries["runtime.trace"] != nil || len(a.Missing) != 1 || !strings.Contains(a.Missing["runtime.trace"], "has one already") {
		t.Errorf("%+v", a.Missing)
	}
	closeManager(t, m.Manager)
	var b bytes.Buffer
	if _, err := theirs.WriteTo(&b); err != nil || !theirs.Enabled() {
		t.Errorf("the program's own has stopped: %v", err)
	}
	readableTrace(t, b.Bytes())
}

func TestATraceOfTheProgramGoesOnBesideTheFlightRecorder(t *testing.T) {
	var theirs bytes.Buffer
	if err := trace.Start(&theirs); err != nil {
		t.Skip("this test is traced itself: ", err)
	}
	m := open(t, config(20), pools.WithDumps(t.TempDir(), time.Minute))
	entries := dump(t, m)
	closeManager(t, m.Manager)
	if !trace.IsEnabled() {
		t.Error("the program's trace has ended")
	}
	trace.Stop()
	readableTrace(t, theirs.Bytes())
	readableTrace(t, entries["runtime.trace"])
}

// The recorder is free again for the next one.
func TestCloseEndsTheFlightRecorder(t *testing.T) {
	for range 2 {
		m := open(t, config(20), pools.WithDumps(t.TempDir(), time.Minute))
		readableTrace(t, dump(t, m)["runtime.trace"])
		closeManager(t, m.Manager)
		if trace.IsEnabled() {
			t.Error("the runtime still traces")
		}
		if err := m.Dump(t.Context(), io.Discard); !errors.Is(err, model.ErrClosed) {
			t.Errorf("a dump after Close: %v", err)
		}
	}
}

func TestADumpHoldsNoPassword(t *testing.T) {
	cfg := config(20)
	cfg.User, cfg.Password = "dumper", "open-sesame-4711"
	db := superuser(t)
	for _, statement := range []string{"DROP ROLE IF EXISTS dumper", "CREATE ROLE dumper LOGIN PASSWORD 'open-sesame-4711'"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = db.Exec("DROP ROLE dumper") })
	m := open(t, cfg, pools.WithDumps(t.TempDir(), time.Minute))
	if _, err := db.Exec("ALTER ROLE dumper PASSWORD 'changed'"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Acquire(t.Context(), "w1"); err == nil {
		t.Fatal("the old password still holds")
	}
	entries := dump(t, m)
	for name, content := range entries {
		for _, secret := range []string{cfg.Password, "postgres://"} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s holds %s", name, secret)
			}
		}
	}
	if a := readAbout(t, entries); a.Config["Host"] != cfg.Host || a.Config["User"] != "" {
		t.Errorf("%v", a.Config)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestADumpThatCannotBeWrittenIsAnError(t *testing.T) {
	m := open(t, config(20))
	if err := m.Dump(t.Context(), fullDisk{}); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("%v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if err := m.Dump(gone, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// longerThanADial is a wait that is long here and now: the dials before the one that
// the test is about write no dump.
func longerThanADial(t *testing.T) time.Duration {
	t.Helper()
	return max(100*time.Millisecond, (20 * dialsTake(t)).Round(time.Millisecond)) // as the log has it
}

func TestOnlyTheLastFolderOfThePathForDumpsIsMade(t *testing.T) {
	above := t.TempDir()
	file := filepath.Join(above, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(above, "new", "dumps"): "neither is the folder above it: correct the path, or make that one",
		file:                                 "is not a folder: name another one",
		filepath.Join(file, "dumps"):         "not a directory",
	} {
		if _, err := pools.Open(t.Context(), config(20), pools.WithDumps(dir, time.Second)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", dir, err, want)
		}
	}
	if left, err := os.ReadDir(above); err != nil || len(left) != 1 {
		t.Errorf("it made folders: %v, %v", left, err)
	}
	dir := filepath.Join(above, "dumps")
	for range 2 {
		m := open(t, config(20), pools.WithDumps(dir, time.Second))
		if made := strings.Contains(m.log.String(), "Made the folder for dumps"); made != strings.HasSuffix(dir, "dumps") {
			t.Errorf("in %s: %s", dir, m.log)
		}
		dir += "/."
	}
}

func TestALongWaitWritesADump(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dumps")
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 1
	long := longerThanADial(t)
	m := open(t, cfg, pools.WithDumps(dir, long))
	held, err := m.Acquire(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	pools.SetAcquireTimeout(m.Manager, 2*long)
	waits := make(chan error)
	for range 3 { // one dump is enough for all
		go func() { waits <- second(m.Acquire(t.Context(), "w1")) }()
	}
	for range 3 {
		var limit *model.ConnectionLimitError
		if err := <-waits; !errors.As(err, &limit) {
			t.Error(err)
		}
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(m.log.String(), "a dump was written") })
	var line struct {
		Waited, Dump, Error, Level string
		ID                         string `json:"workspace_id"`
	}
	if err := json.Unmarshal([]byte(m.log.line(t, "a dump was written")), &line); err != nil {
		t.Fatal(err)
	}
	if waited, err := time.ParseDuration(line.Waited); err != nil || waited < 2*long || line.ID != "w1" || line.Level != "WARN" || line.Error == "" {
		t.Errorf("%+v", line)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Equal(files, []string{line.Dump}) {
		t.Fatalf("%q, %v; the log says %s", files, err, line.Dump)
	}
	for name, mode := range map[string]os.FileMode{line.Dump: 0o600, dir: 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	content, err := os.ReadFile(line.Dump)
	if err != nil {
		t.Fatal(err)
	}
	entries := dumped(t, content)
	if a := readAbout(t, entries); !strings.HasPrefix(a.Why, `an acquire of workspace "w1" waited for `) || !strings.Contains(a.Why, "failed: ") {
		t.Errorf("why: %s", a.Why)
	}
	if len(entries) != 4 {
		t.Errorf("%d entries", len(entries))
	}
}

func TestALongWaitThatIsServedWritesADumpToo(t *testing.T) {
	dir := t.TempDir()
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 1
	long := longerThanADial(t)
	m := open(t, cfg, pools.WithDumps(dir, long))
	held, err := m.Acquire(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2*long, held.Release)
	conn, err := m.Acquire(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	conn.Release()
	eventually(t, "there is a dump", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*.zip"))
		return len(files) == 1
	})
}

func TestBadDumpOptionsAreRefusedBeforeAnythingIsDialed(t *testing.T) {
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(20)
	cfg.Port = 1 // nobody is there
	for _, bad := range []struct {
		option pools.Option
		want   string
	}{
		{pools.WithDumps(t.TempDir(), 0), "must be longer than 0"},
		{pools.WithDumps(occupied, time.Second), occupied},
	} {
		if _, err := pools.Open(t.Context(), cfg, bad.option); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v, want %s", err, bad.want)
		}
	}
	if trace.IsEnabled() {
		t.Error("the runtime traces")
	}
}
