package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

var _ web.Pool = (*pools.Manager)(nil)

// The variables of serve besides those of the pool (DB_...) and the public key.
const (
	addrVariable             = "TENANTPOOL_ADDR"
	metricsTokenVariable     = "METRICS_TOKEN"
	workspaceMetricsVariable = "TENANTPOOL_WORKSPACE_METRICS"
	maxTokenTTLVariable      = "TENANTPOOL_MAX_TOKEN_TTL"
	revocationsVariable      = "TENANTPOOL_REVOCATIONS"
	dumpDirVariable          = "TENANTPOOL_DUMP_DIR"
	dumpAfterVariable        = "TENANTPOOL_DUMP_AFTER"
)

// defaultAddr is reached from this machine only: the server speaks plain HTTP.
const defaultAddr = "127.0.0.1:8080"

// defaultDumpAfter is a wait that people notice, and shorter than DB_ACQUIRE_TIMEOUT.
const defaultDumpAfter = 2 * time.Second

func newServe() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the dashboard, the admin API and the workspaces of a PostgreSQL server",
		Long: `Opens a pool on the PostgreSQL server that the environment names, and serves the
dashboard (/), the admin API (/api), metrics for Prometheus (/metrics) and health
checks (/healthz, /readyz). It speaks plain HTTP; put a proxy with TLS in front
of it where others share the network.

  DB_HOST, DB_PORT, DB_USER, ...  the server and the limits: see env.example
  ` + publicKeyVariable + `               checks tokens: see tenantpool keygen; several are
                                  separated by commas
  ` + addrVariable + `                 where to listen, unless --addr says so
  ` + maxTokenTTLVariable + `        how long a token may be good in all (720h)
  ` + revocationsVariable + `          a file of tokens that are refused before they
                                  expire, read anew when it changes: see SECURITY.md
  ` + metricsTokenVariable + `                   opens /metrics, besides viewers' tokens
  ` + workspaceMetricsVariable + `    true: metrics of each active workspace, too
  ` + dumpDirVariable + `             a folder: a dump is written there when somebody has
                                  waited for a connection for long (the newest 10
                                  are kept)
  ` + dumpAfterVariable + `           how long that is (2s)
  ` + logLevelVariable + `                       debug, info (the default), warn or error
  ` + logFormatVariable + `                      json (the default) or text

A secret may lie in a file: DB_PASSWORD_FILE, ` + publicKeyVariable + secret.FileSuffix + ` and
` + metricsTokenVariable + secret.FileSuffix + ` name one, in place of the variable without ` + secret.FileSuffix + `.

On SIGTERM or Ctrl-C it accepts no more requests, lets those under way end,
closes its connections and exits with 0; a second one exits at once.`,
		Example: "  tenantpool serve --addr 0.0.0.0:8080",
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("addr") {
				if set := os.Getenv(addrVariable); set != "" {
					addr = set
				}
			}
			return serveUntil(cmd.Context(), addr, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&addr, "addr", defaultAddr, "where to listen")
	return cmd
}

// serveUntil runs until ctx is done, or its listener fails.
func serveUntil(ctx context.Context, addr string, stderr io.Writer) error {
	cfg, o, dumps, err := serveConfig()
	log, wrongLog := logFromEnv(stderr)
	if err := errors.Join(err, wrongLog); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	o.Log = log
	built := build.Current()
	log.WithFields(logrus.Fields{"version": built.Version, "revision": built.Revision, "go": built.Go}).Info("Starting")

	listener, err := net.Listen("tcp", addr) // before anything is dialed: this is told at once
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, where it came that far
	manager, err := pools.Open(ctx, cfg, append(dumps, pools.WithLogger(log))...)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w before the server was reached", errInterrupted)
		}
		return fmt.Errorf("serve: %w", err)
	}
	warn(ctx, manager, log)
	server, err := web.New(manager, o)
	if err == nil {
		log.WithField("address", listener.Addr().String()).Info("Serving")
		err = server.Serve(ctx, listener)
	}
	return errors.Join(err, drain(manager, log))
}

// drain closes the manager, whose leases have come home with their requests.
func drain(manager *pools.Manager, log logrus.FieldLogger) error {
	log.Info("Draining")
	ctx, stop := context.WithTimeout(context.Background(), drainWithin)
	defer stop()
	if err := manager.Close(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log.Info("Drained")
	return nil
}

// serveConfig reads the environment, and says all that is wrong with it.
func serveConfig() (model.Config, web.Options, []pools.Option, error) {
	cfg, err := pools.ConfigFromEnv()
	wrong := []error{err}
	o := web.Options{}
	if o.MetricsToken, err = secret.FromEnv(metricsTokenVariable); err != nil {
		wrong = append(wrong, err)
	}
	if n := len(o.MetricsToken); n > 0 && n < web.MinMetricsToken {
		wrong = append(wrong, fmt.Errorf("%s has %d bytes: use at least %d, so that it is not guessed", metricsTokenVariable, n, web.MinMetricsToken))
	}
	if keys, err := secret.FromEnv(publicKeyVariable); err != nil {
		wrong = append(wrong, err)
	} else if keys == "" {
		wrong = append(wrong, errors.New(publicKeyVariable+" is not set, so no token could be checked: make a key pair with tenantpool keygen"))
	} else if o.Keys, err = web.ParsePublicKeys(keys); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", publicKeyVariable, err))
	}
	if set := os.Getenv(maxTokenTTLVariable); set != "" {
		if o.MaxTokenTTL, err = time.ParseDuration(set); err != nil || o.MaxTokenTTL < web.MinTTL || o.MaxTokenTTL > web.MaxTTL {
			wrong = append(wrong, fmt.Errorf("%s is %q: it must be a duration from %v to %v, such as 12h or 720h", maxTokenTTLVariable, set, web.MinTTL, web.MaxTTL))
		}
	}
	if path := os.Getenv(revocationsVariable); path != "" {
		if o.Revocations, err = web.ReadRevocations(path); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w: mend it, or create it empty", revocationsVariable, err))
		}
	}
	if set := os.Getenv(workspaceMetricsVariable); set != "" {
		if o.WorkspaceMetrics, err = strconv.ParseBool(set); err != nil {
			wrong = append(wrong, fmt.Errorf("%s is %q: it must be true or false", workspaceMetricsVariable, set))
		}
	}
	dumps, err := dumpConfig()
	return cfg, o, dumps, errors.Join(append(wrong, err)...)
}

// dumpConfig is the option that the environment asks for, or none.
func dumpConfig() ([]pools.Option, error) {
	after := defaultDumpAfter
	if set := os.Getenv(dumpAfterVariable); set != "" {
		var err error
		if after, err = time.ParseDuration(set); err != nil || after <= 0 {
			return nil, fmt.Errorf("%s is %q: it must be a duration with its unit, as 500ms or 2s, and longer than 0", dumpAfterVariable, set)
		}
	}
	if dir := os.Getenv(dumpDirVariable); dir != "" {
		return []pools.Option{pools.WithDumps(dir, after)}, nil
	}
	return nil, nil
}
