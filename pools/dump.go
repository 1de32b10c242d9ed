package pools

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
)

// Dump writes what is needed to find out afterwards why an acquire waited, as a
// zip archive:
//
//	about.json     when and why it was made, by which versions; the configuration
//	               without user and password; the statistics of that moment; what
//	               is missing below, and why
//	messages.json  the last messages of the supervisor, a list of model.Recording
//	runtime.trace  the last seconds of the Go runtime, for go tool trace; only with
//	               WithDumps
//
// It holds workspaces' ids and the server's errors, and no password. An entry that
// would have more than 64 MiB is left out. Everything is collected before the first
// byte is written, which lending does not wait for.
//
// The error is w's, or wraps ctx.Err(), or model.ErrClosed after Close.
func (m *Manager) Dump(ctx context.Context, w io.Writer) error {
	return m.dump(ctx, w, "it was asked for")
}

func (m *Manager) dump(ctx context.Context, w io.Writer, why string) error {
	entries, err := m.collectDump(ctx, why)
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := writeDump(ctx, w, entries); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// DumpMessages is the name of the entry of a dump that holds the recordings.
const DumpMessages = "messages.json"

// dumpEntry is a file of the archive.
type dumpEntry struct {
	name    string
	content []byte
}

// maxDumpEntry bounds what a dump takes of memory and disk.
const maxDumpEntry = 64 << 20

var errEntryTooLarge = fmt.Errorf("it has more than %d bytes", maxDumpEntry)

// aboutDump is about.json.
type aboutDump struct {
	At       time.Time     `json:"at"`
	Why      string        `json:"why"`
	Go       string        `json:"go"`
	Version  string        `json:"version"`
	Revision string        `json:"revision"`
	Config   model.Config  `json:"config"`
	Stats    model.Stats   `json:"stats"`
	Down     string        `json:"serverDown,omitempty"`
	Missing  []missingPart `json:"missing,omitempty"`
}

type missingPart struct {
	Entry string `json:"entry"`
	Why   string `json:"why"`
}

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
	if m.flight, m.noFlight = startFlightRecorder(ctx); m.noFlight != nil {
		m.log.WithField("error", m.noFlight.Error()).Warn("Dumps will have no runtime.trace")
	}
	return nil
}

// dumpsEnded blocks until what startDumps started has ended.
func (m *Manager) dumpsEnded(ctx context.Context) error {
	if m.dumps == nil {
		return nil
	}
	if m.flight != nil {
		<-m.flight.stopped // it touches no disk
	}
	select {
	case <-m.dumps.ended:
	case <-ctx.Done():
		if !within(m.dumps.ended, 0) {
			return fmt.Errorf("a dump is still being written: %w", ctx.Err())
		}
	}
	return nil
}

func (m *Manager) collectDump(ctx context.Context, why string) ([]dumpEntry, error) {
	built := build.Current()
	about := aboutDump{At: time.Now().UTC(), Why: why, Go: built.Go, Version: built.Version, Revision: built.Revision, Config: m.config}
	about.Config.User, about.Config.Password = "", ""
	var err error
	if about.Stats, err = m.Stats(ctx); err != nil {
		return nil, err
	}
	recordings, err := m.supervisor.Recordings(ctx) // after what Stats has let the core know
	if err != nil {
		return nil, err
	}
	if down := about.Stats.Workspaces.ServerDown; down != nil { // JSON knows no errors
		about.Down = down.Error()
	}
	about.Stats.Workspaces.ServerDown, about.Stats.System.ServerDown = nil, nil

	parts := []dumpEntry{}
	add := func(name string, content []byte, err error) {
		if err == nil && len(content) > maxDumpEntry {
			err = errEntryTooLarge
		}
		if err != nil {
			about.Missing = append(about.Missing, missingPart{name, err.Error()})
			return
		}
		parts = append(parts, dumpEntry{name, content})
	}
	messages, err := json.Marshal(recordings)
	add(DumpMessages, messages, err)
	trace, err := []byte(nil), m.noFlight
	if m.flight != nil {
		trace, err = m.flight.read(ctx)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	add("runtime.trace", trace, err)

	text, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]dumpEntry{{"about.json", text}}, parts...), nil
}

func writeDump(ctx context.Context, w io.Writer, entries []dumpEntry) error {
	z := zip.NewWriter(w)
	// Fast: a dump is made when the machine has enough to do.
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		file, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Now()})
		if err != nil {
			return err
		}
		if _, err := file.Write(e.content); err != nil {
			return err
		}
	}
	return z.Close()
}

// boundedBuffer refuses what does not fit.
type boundedBuffer struct{ bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxDumpEntry {
		return 0, errEntryTooLarge
	}
	return b.Buffer.Write(p)
}
