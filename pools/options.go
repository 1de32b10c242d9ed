package pools

import (
	"os"

	"github.com/sirupsen/logrus"
)

// Option changes how Open makes a Manager.
type Option func(*options)

type options struct {
	log    logrus.FieldLogger
	naming Naming
}

// WithLogger sets where the manager logs to. The default writes JSON lines to
// standard error.
func WithLogger(log logrus.FieldLogger) Option {
	return func(o *options) { o.log = log }
}

// WithNaming sets how workspaces map to databases, in place of PrefixNaming.
func WithNaming(naming Naming) Option {
	return func(o *options) { o.naming = naming }
}

func defaultLogger() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(os.Stderr)
	log.SetFormatter(&logrus.JSONFormatter{})
	return log
}
