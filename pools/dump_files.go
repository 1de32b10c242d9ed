package pools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/model"
)

// dumpFiles writes a dump when an acquire has waited for long. One goroutine
// writes; whoever waited leaves word, if a dump is due.
type dumpFiles struct {
	dir   string
	after time.Duration
	dump  func(ctx context.Context, w io.Writer, why string) error
	log   logrus.FieldLogger

	began time.Time
	due   atomic.Int64 // nanoseconds since began; no dump is made before
	waits chan longWait
	ended chan struct{} // closed when the goroutine has ended
}

// longWait is why a dump is made.
type longWait struct {
	system bool
	id     model.WorkspaceID
	took   time.Duration
	err    error // how it ended
}

const (
	// dumpEvery: one dump tells what a burst of long waits is about.
	dumpEvery = time.Minute
	// dumpsKept are the newest.
	dumpsKept = 10
	// dumpTimeout bounds making one.
	dumpTimeout = 30 * time.Second
)

// start makes the folder, and runs until ctx is done.
func (d *dumpFiles) start(ctx context.Context) error {
	if d.after <= 0 {
		return fmt.Errorf("dumps after a wait of %v: it must be longer than 0", d.after)
	}
	if err := d.makeFolder(); err != nil {
		return fmt.Errorf("folder for dumps: %w", err)
	}
	d.began = time.Now()
	d.waits = make(chan longWait, 1)
	d.ended = make(chan struct{})
	go d.run(ctx)
	return nil
}

// makeFolder makes the folder if it is not there, and none above it: a path that is
// wrong does not become a tree of folders, or fill the disk below a missing mount.
func (d *dumpFiles) makeFolder() error {
	about, err := os.Stat(d.dir)
	switch {
	case err == nil && !about.IsDir():
		return fmt.Errorf("%s is not a folder: name another one", d.dir)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	err = os.Mkdir(d.dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there, and neither is the folder above it: correct the path, or make that one", d.dir)
	case err != nil:
		return err
	}
	d.log.WithField("folder", d.dir).Info("Made the folder for dumps")
	return nil
}

// note is told of each acquire that did not find a connection at once, when it has
// ended. It never blocks. A nil one takes no notice.
func (d *dumpFiles) note(system bool, id model.WorkspaceID, began time.Time, err error) {
	if d == nil {
		return
	}
	took := time.Since(began)
	if took <= d.after {
		return
	}
	now, due := int64(time.Since(d.began)), d.due.Load()
	if now < due || !d.due.CompareAndSwap(due, now+int64(dumpEvery)) {
		return
	}
	select {
	case d.waits <- longWait{system, id, took.Round(time.Millisecond), err}:
	default: // the disk takes minutes for one
	}
}

func (d *dumpFiles) run(ctx context.Context) {
	defer close(d.ended)
	for {
		select {
		case w := <-d.waits:
			d.save(ctx, w)
		case <-ctx.Done():
			return
		}
	}
}

// save writes a dump and says where, or why not.
func (d *dumpFiles) save(ctx context.Context, w longWait) {
	within, stop := context.WithTimeout(ctx, dumpTimeout)
	defer stop()
	log := d.log.WithFields(logrus.Fields{"workspace_id": w.id, "waited": w.took.String()})
	why := fmt.Sprintf("an acquire of workspace %q waited for %v", w.id, w.took)
	if w.system {
		log = d.log.WithFields(logrus.Fields{"system_database": w.id, "waited": w.took.String()})
		why = fmt.Sprintf("an acquire of the system database waited for %v", w.took)
	}
	if w.err != nil {
		log = log.WithField("error", w.err.Error())
		why += ", and failed: " + w.err.Error()
	}
	file, err := d.write(within, why)
	if err != nil {
		if ctx.Err() == nil { // else the manager closes
			log.WithField("dump_error", err.Error()).Warn("An acquire waited too long, and its dump could not be written")
		}
		return
	}
	log.WithField("dump", file).Warn("An acquire waited too long, and a dump was written")
	if err := d.prune(); err != nil {
		log.WithField("dump_error", err.Error()).Warn("Old dumps could not be removed")
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
		return "", err
	}
	return name, nil
}

const (
	// dumpNames is the form of the files' names, in UTC: their order is that of
	// their times.
	dumpNames = "tenantpool-20060102T150405.000Z.zip"
	partial   = ".partial"
)

// prune keeps the newest dumps. It counts what is not complete, or was not when the
// program ended, so that this does not stay for ever; and removes nothing that has
// not a dump's name.
func (d *dumpFiles) prune() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		_, err := time.Parse(dumpNames, strings.TrimSuffix(e.Name(), partial))
		return err != nil
	})
	for _, e := range entries[:max(0, len(entries)-dumpsKept)] { // ReadDir has sorted them
		if gone := os.Remove(filepath.Join(d.dir, e.Name())); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
