package pools

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Option changes how Open makes a Manager.
type Option func(*options)

type options struct {
	log    *slog.Logger
	naming Naming
	// resolver or table is set, or neither.
	resolver Resolver
	table    string
	dumps    *dumpFiles
	late     bool
	hooks    Hooks
	types    *types
	tracer   any // if traced
	traced   bool

	// settings or settingsTable is set, or neither.
	settings      func(context.Context, model.WorkspaceID) (WorkspaceSettings, error)
	settingsTable string

	credentials func(context.Context) (Credentials, error)

	instance string
	group    string
}

// WithLogger sets where the manager logs to. The default writes JSON lines to
// standard error; with nil nothing is logged. A line about a workspace has its id as
// workspace_id. The adapter to a *logrus.Logger is github.com/sirupsen/logrus/hooks/slog.
func WithLogger(log *slog.Logger) Option {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return func(o *options) { o.log = log }
}

// WithNaming sets how workspaces map to databases, in place of PrefixNaming.
func WithNaming(naming Naming) Option {
	return func(o *options) { o.naming = naming }
}

// WithLateServer lets Open return before the server has answered, which may be down.
// Until [Manager.WaitForServer] has returned without an error, connections of workspaces
// are refused with a *model.DialError of kind model.ServerDown.
func WithLateServer() Option {
	return func(o *options) { o.late = true }
}

// WithSharedBudget makes Config.MaxConnections the budget of all processes of a group, as
// Config.SharedBudget does.
func WithSharedBudget(group string) Option {
	return func(o *options) { o.group = group }
}

// WithDumps keeps the last seconds of the Go runtime's trace (runtime/trace's
// FlightRecorder; a process has one, and the program's own or that of an earlier
// Manager stays), and writes a dump to the folder dir when an acquire took longer
// than after, whether it failed or not: tenantpool-<time>.zip, see [Manager.Dump].
// It writes one a minute at most, keeps the newest ten, and logs where and why. dir
// is made if it is not there; the folder above it has to be. Close ends it all.
func WithDumps(dir string, after time.Duration) Option {
	return func(o *options) { o.dumps = &dumpFiles{dir: dir, after: after} }
}

// defaultLogger writes as package web does by default; neither knows the other.
func defaultLogger() *slog.Logger {
	named := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.MessageKey {
			a.Key = "message"
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: named}))
}
