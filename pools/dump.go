package pools

import (
	"archive/zip"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
)

// Dump writes what is needed to find out afterwards why an acquire waited, as a
// zip archive:
//
//	traffic        what the planner has recorded, for tenantpool capacity; without
//	               workspaces' ids
//	messages.json  the last messages of the supervisor, a list of core.Recording
//	runtime.trace  the last seconds of the Go runtime, for go tool trace; only with
//	               WithDumps
//	about.json     when and why it was made, by which versions; the configuration
//	               without user and password; the statistics of that moment; what
//	               is missing above, and why
//
// It holds workspaces' ids and the server's errors, and no password. An entry that
// would have more than 64 MiB is left out. Everything is collected before the first
// byte is written, which lending does not wait for.
//
// The error is w's, or wraps ctx.Err(), or model.ErrClosed after Close.
func (m *Manager) Dump(ctx context.Context, w io.Writer) error {
	if err := m.dump(ctx, w, "it was asked for"); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// DumpMessages is the name of the entry of a dump that holds the recordings.
const DumpMessages = "messages.json"

// DumpTraffic is the name of the entry that holds what the planner has recorded.
const DumpTraffic = "traffic"

const maxDumpEntry = 64 << 20 // bounds what a dump takes of memory and disk

// aboutDump is about.json.
type aboutDump struct {
	At      time.Time         `json:"at"`
	Why     string            `json:"why"`
	Build   build.Info        `json:"build"`
	Config  model.Config      `json:"config"`
	Stats   model.Stats       `json:"stats"`
	Down    string            `json:"serverDown,omitempty"`
	Missing map[string]string `json:"missing,omitempty"` // why, by the entry
}

func (m *Manager) dump(ctx context.Context, w io.Writer, why string) (err error) {
	about := aboutDump{At: time.Now().UTC(), Why: why, Build: build.Current(), Config: m.config, Missing: map[string]string{}}
	about.Config.User, about.Config.Password = "", ""
	if about.Stats, err = m.Stats(ctx); err != nil {
		return err
	}
	if down := about.Stats.Workspaces.ServerDown; down != nil { // JSON knows no errors
		about.Down = down.Error()
	}
	about.Stats.Workspaces.ServerDown, about.Stats.System.ServerDown = nil, nil
	recordings, err := m.supervisor.Recordings(ctx) // after what Stats has let the core know
	if err != nil {
		return err
	}
	trace, noTrace := []byte(nil), m.noFlight
	if m.flight != nil {
		trace, noTrace = m.flight.read(ctx)
	}
	messages, noMessages := json.Marshal(recordings)
	traffic, noTraffic := m.planning.write(ctx)

	archive := zip.NewWriter(w)
	// Fast: a dump is made when the machine has enough to do.
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	add := func(name string, content []byte, missing error) error {
		if len(content) > maxDumpEntry {
			missing = fmt.Errorf("it has more than %d bytes", maxDumpEntry)
		}
		if missing != nil {
			about.Missing[name] = missing.Error()
			return ctx.Err()
		}
		file, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: about.At})
		if err == nil {
			_, err = file.Write(content)
		}
		return err
	}
	if err := errors.Join(add(DumpMessages, messages, noMessages), add("runtime.trace", trace, noTrace), add(DumpTraffic, traffic, noTraffic)); err != nil {
		return err
	}
	text, err := json.MarshalIndent(about, "", "  ")
	return errors.Join(err, add("about.json", text, nil), archive.Close())
}
