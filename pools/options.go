package pools

import (
	"io"
	"os"
	"reflect"
	"time"

	"github.com/sirupsen/logrus"
)

// Option changes how Open makes a Manager.
type Option func(*options)

type options struct {
	log    logrus.FieldLogger
	naming Naming
	dumps  *dumpFiles
	late   bool

	instance string
}

// WithLogger sets where the manager logs to. The default writes JSON lines to
// standard error; with nil nothing is logged.
func WithLogger(log logrus.FieldLogger) Option {
	if v := reflect.ValueOf(log); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		log = silent
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
func defaultLogger() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(os.Stderr)
	log.SetFormatter(&logrus.JSONFormatter{FieldMap: logrus.FieldMap{logrus.FieldKeyMsg: "message"}})
	return log
}
