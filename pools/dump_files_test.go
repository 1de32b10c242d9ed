package pools

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// dumpFilesTest is a dumpFiles in virtual time.
type dumpFilesTest struct {
	*dumpFiles
	t    *testing.T
	made []string // why each dump was made
	log  bytes.Buffer
	end  context.CancelFunc
}

func startDumpFilesTest(t *testing.T) *dumpFilesTest {
	d := &dumpFilesTest{t: t}
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	d.dumpFiles = &dumpFiles{dir: t.TempDir(), after: time.Second, log: log, dump: func(_ context.Context, w io.Writer, why string) error {
		d.made = append(d.made, why)
		_, err := io.WriteString(w, why)
		return err
	}}
	var ctx context.Context
	ctx, d.end = context.WithCancel(t.Context())
	if err := d.start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end()
		<-d.ended
	})
	return d
}

// waited tells of an acquire that took that long.
func (d *dumpFilesTest) waited(took time.Duration) {
	d.note(false, "w", time.Now().Add(-took), nil)
	synctest.Wait()
}

func (d *dumpFilesTest) files() []string {
	d.t.Helper()
	found, err := os.ReadDir(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

func TestManyLongWaitsWriteOneDumpAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		d.waited(time.Second) // not longer than after
		if len(d.made) != 0 {
			t.Fatal(d.made)
		}
		// A hundred at once every 20 s, until 180 s.
		for range 10 {
			for range 100 {
				d.note(false, "w", time.Now().Add(-2*time.Second), errors.New("nothing free"))
			}
			synctest.Wait()
			time.Sleep(20 * time.Second)
		}
		if len(d.made) != 4 { // at 0, 60, 120 and 180 s
			t.Errorf("%d dumps", len(d.made))
		}
		if d.made[0] != `an acquire of workspace "w" waited for 2s, and failed: nothing free` {
			t.Errorf("%q", d.made[0])
		}
		time.Sleep(time.Minute)
		d.note(true, "postgres", time.Now().Add(-2*time.Second), nil)
		synctest.Wait()
		if last := d.made[len(d.made)-1]; last != "an acquire of the system database waited for 2s" {
			t.Errorf("%q", last)
		}
	})
}

func TestTheTenNewestDumpsAreKeptAndNothingElseIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		others := []string{"tenantpool-keep.zip", "tenantpool-20000102T030405.000Z.zip.mine", "notes.txt"}
		stale := "tenantpool-19990102T030405.000Z.zip.partial" // its program was killed
		for _, name := range append(others, stale) {
			if err := os.WriteFile(filepath.Join(d.dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 13 {
			d.waited(time.Minute)
			time.Sleep(time.Minute)
		}
		var want []string
		for i := range 10 { // virtual time begins in 2000; the first dump is of 00:00
			want = append(want, time.Date(2000, 1, 1, 0, 3+i, 0, 0, time.UTC).Format("tenantpool-20060102T150405.000Z.zip"))
		}
		want = append(want, "notes.txt", "tenantpool-20000102T030405.000Z.zip.mine", "tenantpool-keep.zip")
		have := d.files()
		for _, name := range want {
			if !strings.Contains(strings.Join(have, " "), name) {
				t.Errorf("%s is gone", name)
			}
		}
		if len(have) != len(want) {
			t.Errorf("%q", have)
		}
	})
}

func TestAFullDiskGivesOneWarningAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		good := d.dump
		d.dump = func(_ context.Context, w io.Writer, _ string) error {
			_, _ = io.WriteString(w, "half of")
			return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
		}
		for range 5 {
			d.waited(time.Minute)
		}
		if said := d.log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "level=WARN") || !strings.Contains(said, "no space left") {
			t.Error(said)
		}
		if files := d.files(); len(files) != 0 {
			t.Errorf("%q", files)
		}
		d.dump = good
		time.Sleep(time.Minute)
		d.waited(time.Minute)
		if files := d.files(); len(files) != 1 {
			t.Errorf("after there was room again: %q", files)
		}
	})
}

// The folder may have been cleaned away.
func TestTheFolderIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		d.dir = filepath.Join(d.dir, "gone")
		d.waited(time.Minute)
		if files := d.files(); len(files) != 1 {
			t.Errorf("%q, %s", files, &d.log)
		}
	})
}

func TestCloseEndsADumpUnderWayWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		d.dump = func(ctx context.Context, _ io.Writer, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}
		d.waited(time.Minute)
		d.end()
		<-d.ended
		if d.log.Len() > 0 || len(d.files()) != 0 {
			t.Errorf("%s %q", &d.log, d.files())
		}
		d.waited(time.Minute) // blocks nobody
	})
}

func TestADumpIsGivenUpAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDumpFilesTest(t)
		var took time.Duration
		d.dump = func(ctx context.Context, _ io.Writer, _ string) error {
			began := time.Now()
			<-ctx.Done()
			took = time.Since(began)
			return ctx.Err()
		}
		d.waited(time.Minute)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if took != 30*time.Second || !strings.Contains(d.log.String(), "deadline") {
			t.Errorf("after %v: %s", took, &d.log)
		}
	})
}
