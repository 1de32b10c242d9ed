package pools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// dumpFiles writes a dump when an acquire has waited for long. One goroutine
// writes; whoever waited leaves word, if a dump is due.
type dumpFiles struct {
	dir   string
	after time.Duration
	dump  func(ctx context.Context, w io.Writer, why string) error
	log   *slog.Logger

	due   atomic.Int64 // Unix time in nanoseconds; no dump is made before
	waits chan longWait
	ended chan struct{} // closed when the goroutine has ended
}

// longWait is why a dump is made, for the dump and for the log.
type longWait struct {
	why string
	log *slog.Logger
}

const (
	dumpEvery   = time.Minute // one tells what a burst of long waits is about
	dumpsKept   = 10          // the newest
	dumpTimeout = 30 * time.Second
)

// startDumps starts what WithDumps asks for.
func (m *Manager) startDumps(d *dumpFiles) error {
	ctx, end := context.WithCancel(context.Background())
	m.endDumps = end
	if d == nil {
		m.noFlight = errNoFlightRecorder
		return nil
	}
	d.dump, d.log = m.dump, m.log
	if err := d.start(ctx); err != nil {
		return err
	}
	m.dumps = d
	if m.flight, m.noFlight = startFlightRecorder(); m.noFlight != nil {
		m.log.Warn("Dumps will have no runtime.trace", "error", m.noFlight.Error())
	}
	return nil
}

// dumpsEnded blocks until what startDumps started has ended.
func (m *Manager) dumpsEnded(ctx context.Context) error {
	if m.dumps == nil || within(m.dumps.ended, 0) {
		return nil
	}
	select {
	case <-m.dumps.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a dump is still being written: %w", ctx.Err())
	}
}

// start makes the folder, and runs until ctx is done.
func (d *dumpFiles) start(ctx context.Context) error {
	if d.after <= 0 {
		return fmt.Errorf("dumps after a wait of %v: it must be longer than 0", d.after)
	}
	if err := d.makeFolder(); err != nil {
		return fmt.Errorf("folder for dumps: %w", err)
	}
	d.waits = make(chan longWait, 1)
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		for {
			select {
			case w := <-d.waits:
				d.save(ctx, w)
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// makeFolder makes the folder if it is not there, and none above it: a path that is
// wrong does not become a tree of folders, or fill the disk below a missing mount.
func (d *dumpFiles) makeFolder() error {
	err := os.Mkdir(d.dir, 0o700)
	about, _ := os.Stat(d.dir)
	switch {
	case err == nil:
		d.log.Info("Made the folder for dumps", "folder", d.dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there, and neither is the folder above it: correct the path, or make that one", d.dir)
	case about != nil && !about.IsDir():
		return fmt.Errorf("%s is not a folder: name another one", d.dir)
	case about == nil:
		return err
	}
	return nil
}

// note is told of each acquire that did not find a connection at once, when it has
// ended. It never blocks. A nil one takes no notice.
func (d *dumpFiles) note(system bool, id model.WorkspaceID, began time.Time, err error) {
	if d == nil || time.Since(began) <= d.after {
		return
	}
	now, due := time.Now(), d.due.Load()
	if now.UnixNano() < due || !d.due.CompareAndSwap(due, now.Add(dumpEvery).UnixNano()) {
		return
	}
	took, who, field := now.Sub(began).Round(time.Millisecond).String(), fmt.Sprintf("workspace %q", id), "workspace_id"
	if system {
		who, field = "the system database", "system_database"
	}
	w := longWait{fmt.Sprintf("an acquire of %s waited for %s", who, took), d.log.With(field, id, "waited", took)}
	if err != nil {
		w = longWait{w.why + ", and failed: " + err.Error(), w.log.With("error", err.Error())}
	}
	select {
	case d.waits <- w:
	default: // the disk takes minutes for one
	}
}

// save writes a dump and says where, or why not.
func (d *dumpFiles) save(ctx context.Context, w longWait) {
	within, stop := context.WithTimeout(ctx, dumpTimeout)
	defer stop()
	file, err := d.write(within, w.why)
	switch {
	case err == nil:
		w.log.Warn("An acquire waited too long, and a dump was written", "dump", file)
		if err := d.prune(); err != nil {
			w.log.Warn("Old dumps could not be removed", "dump_error", err.Error())
		}
	case ctx.Err() == nil: // else the manager closes
		w.log.Warn("An acquire waited too long, and its dump could not be written", "dump_error", err.Error())
	}
}

// write returns the file's name. A file is there under that name only when it is
// complete.
func (d *dumpFiles) write(ctx context.Context, why string) (name string, err error) {
	if err := d.makeFolder(); err != nil {
		return "", err
	}
	name = filepath.Join(d.dir, time.Now().UTC().Format(dumpNames))
	file, err := os.OpenFile(name+partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	err = errors.Join(d.dump(ctx, file, why), file.Close())
	if err == nil {
		err = os.Rename(name+partial, name)
	}
	if err != nil {
		_ = os.Remove(name + partial)
	}
	return name, err
}

const (
	// dumpNames is the form of the files' names, in UTC: they sort by their times.
	dumpNames = "tenantpool-20060102T150405.000Z.zip"
	dumpsGlob = "tenantpool-????????T??????.???Z.zip"
	partial   = ".partial"
)

// prune keeps the newest dumps. It counts what is not complete, or was not when the
// program ended, so that this does not stay for ever; and removes nothing that has
// not a dump's name.
func (d *dumpFiles) prune() (err error) {
	complete, _ := fs.Glob(os.DirFS(d.dir), dumpsGlob) // a pattern without a fault
	begun, _ := fs.Glob(os.DirFS(d.dir), dumpsGlob+partial)
	names := slices.Sorted(slices.Values(append(complete, begun...)))
	for _, name := range names[:max(0, len(names)-dumpsKept)] {
		if gone := os.Remove(filepath.Join(d.dir, name)); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
