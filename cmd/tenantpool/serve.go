package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
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
	shutdownDelayVariable    = "TENANTPOOL_SHUTDOWN_DELAY"
	serverWaitVariable       = "TENANTPOOL_SERVER_WAIT"
	instanceVariable         = "TENANTPOOL_INSTANCE"
	queriesVariable          = "TENANTPOOL_MAX_QUERIES"
	ownQueriesVariable       = "TENANTPOOL_MAX_QUERIES_PER_SUBJECT"
	streamsVariable          = "TENANTPOOL_MAX_STREAMS"
	ownStreamsVariable       = "TENANTPOOL_MAX_STREAMS_PER_SUBJECT"
)

// defaultAddr is reached from this machine only: the server speaks plain HTTP.
const defaultAddr = "127.0.0.1:8080"

// defaultServerWait is as long as a PostgreSQL that starts beside the program takes, and
// no longer than one wants to read in a pod's status that it has not.
const defaultServerWait = time.Minute

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
  ` + workspaceMetricsVariable + `    true: metrics of the 100 busiest workspaces, too
  ` + dumpDirVariable + `             a folder, made if the one above it is there: a dump is
                                  written there when somebody has waited for a
                                  connection for long (the newest 10 are kept)
  ` + dumpAfterVariable + `           how long that is (2s)
  ` + serverWaitVariable + `           how long to wait for PostgreSQL at the start (1m); until it
                                  answers /readyz says 503
  ` + shutdownDelayVariable + `        how long to serve on at the end, while /readyz says 503
                                  (0s)
  ` + instanceVariable + `             the name of this process, which the next one in its place has,
                                  too (host and address): it counts what this one leaves
                                  behind if it is killed
  ` + queriesVariable + `          how many workspace.query may be under way (100), each
                                  of which takes memory: more are refused
  ` + ownQueriesVariable + `
                                  how many of one token's subject (50, or all)
  ` + streamsVariable + `          how many event streams may be open (100)
  ` + ownStreamsVariable + `
                                  how many of one token's subject (20, or all)
  ` + logLevelVariable + `                       debug, info (the default), warn or error
  ` + logFormatVariable + `                      json (the default) or text

A secret may lie in a file: DB_PASSWORD_FILE, ` + publicKeyVariable + secret.FileSuffix + ` and
` + metricsTokenVariable + secret.FileSuffix + ` name one, in place of the variable without ` + secret.FileSuffix + `.

On SIGTERM or Ctrl-C it accepts no more requests, after the delay, lets those under
way end, closes its connections and exits with 0; a second signal exits at once, a
SIGTERM only if it comes a second after the first. After a drain that an operator asked
for it ends as well.
On SIGHUP it reads the files that hold the keys, the metrics token and DB_PASSWORD, and
those of PGSSLROOTCERT, PGSSLCERT and PGSSLKEY again; if they are no good, it keeps the
old. Variables are as at the start.`,
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

// serveUntil runs until ctx is done, an operator's drain is, PostgreSQL does not come,
// or its listener fails.
func serveUntil(ctx context.Context, addr string, stderr io.Writer) error {
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // which would end the process
	defer signal.Stop(hangUps)
	set, err := serveConfig()
	log, wrongLog := logFromEnv(stderr)
	if err := errors.Join(err, wrongLog); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	set.web.Log = log
	built := build.Current()
	log.WithFields(logrus.Fields{"version": built.Version, "revision": built.Revision, "go": built.Go}).Info("Starting")

	listener, err := net.Listen("tcp", addr) // before anything is dialed: this is told at once
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, where it came that far
	manager, err := pools.Open(ctx, set.pool, append(set.dumps, pools.WithLogger(log), pools.WithLateServer(), pools.WithInstance(instance(listener.Addr())))...)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server, err := web.New(manager, set.web)
	if err == nil {
		log.WithField("address", listener.Addr().String()).Info("Listening")
		err = (&serving{manager, server, listener, log, newReread()}).until(ctx, set.serverWait, hangUps)
	}
	return errors.Join(err, drain(manager, log))
}

// instance is a name that no other living process has: nobody else can listen there.
func instance(address net.Addr) string {
	if set := os.Getenv(instanceVariable); set != "" {
		return set
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host + " " + address.String()
}

// serving is a program that serves.
type serving struct {
	manager  *pools.Manager
	server   *web.Server
	listener net.Listener
	log      logrus.FieldLogger
	reread   reread // the files that a reload reads again
}

// until serves until ctx is done and the requests under way have ended.
func (s *serving) until(ctx context.Context, serverWait time.Duration, hangUps <-chan os.Signal) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	met, ended := make(chan struct{}), make(chan error, 1)
	var unmet error // once met is closed
	go func() {
		defer close(met)
		unmet = s.meetServer(ctx, serverWait)
	}()
	go func() { ended <- s.server.Serve(ctx, s.listener) }()
	drained := s.server.Drained()
	var failed error
	for {
		select {
		case <-met:
			if met = nil; unmet != nil && ctx.Err() == nil {
				failed = unmet
				s.server.Close() // nobody was served: there is no delay
				end()
			}
		case <-hangUps:
			s.reload(ctx)
		case <-drained:
			drained = nil
			end()
		case err := <-ended:
			end()
			if met != nil {
				<-met
			}
			return errors.Join(failed, err)
		}
	}
}

// meetServer waits for PostgreSQL.
func (s *serving) meetServer(ctx context.Context, atMost time.Duration) error {
	waiting, stop := context.WithTimeout(ctx, atMost)
	defer stop()
	switch err := s.manager.WaitForServer(waiting); {
	case err != nil && waiting.Err() != nil:
		return fmt.Errorf("serve: PostgreSQL could not be used within %v (%s): %w", atMost, serverWaitVariable, err)
	case err != nil:
		return fmt.Errorf("serve: PostgreSQL refuses this program for a reason that stays, so it is not waited for: %w", err)
	}
	warn(ctx, s.manager, s.log)
	s.log.WithField("address", s.listener.Addr().String()).Info("Serving")
	return nil
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

// serveSettings is what the environment says.
type serveSettings struct {
	pool       model.Config
	web        web.Options
	dumps      []pools.Option
	serverWait time.Duration
}

// serveConfig reads the environment, and says all that is wrong with it.
func serveConfig() (set serveSettings, err error) {
	set.pool, err = pools.ConfigFromEnv()
	wrong := []error{err}
	note := func(err error) { wrong = append(wrong, err) }
	o := &set.web
	note(accessFromEnv(o))
	if given := os.Getenv(maxTokenTTLVariable); given != "" {
		if o.MaxTokenTTL, err = time.ParseDuration(given); err != nil || o.MaxTokenTTL < web.MinTTL || o.MaxTokenTTL > web.MaxTTL {
			note(fmt.Errorf("%s is %q: it must be a duration from %v to %v, such as 12h or 720h", maxTokenTTLVariable, given, web.MinTTL, web.MaxTTL))
		}
	}
	if path := os.Getenv(revocationsVariable); path != "" {
		if o.Revocations, err = web.ReadRevocations(path); err != nil {
			note(fmt.Errorf("%s: %w: mend it, or create it empty", revocationsVariable, err))
		}
	}
	if given := os.Getenv(workspaceMetricsVariable); given != "" {
		if o.WorkspaceMetrics, err = strconv.ParseBool(given); err != nil {
			note(fmt.Errorf("%s is %q: it must be true or false", workspaceMetricsVariable, given))
		}
	}
	o.ShutdownDelay, err = durationFromEnv(shutdownDelayVariable, 0)
	note(err)
	set.serverWait, err = durationFromEnv(serverWaitVariable, defaultServerWait)
	note(err)
	for variable, into := range map[string]*int{
		queriesVariable: &o.Query.Concurrent, ownQueriesVariable: &o.Query.ConcurrentPerSubject,
		streamsVariable: &o.Streams, ownStreamsVariable: &o.StreamsPerSubject,
	} {
		note(countFromEnv(variable, into))
	}
	set.dumps, err = dumpConfig()
	note(err)
	return set, errors.Join(wrong...)
}

// accessFromEnv reads whom the server lets in.
func accessFromEnv(o *web.Options) error {
	var wrong []error
	var err error
	if o.MetricsToken, err = secret.FromEnv(metricsTokenVariable); err != nil {
		wrong = append(wrong, err)
	} else if n := len(o.MetricsToken); n > 0 && n < web.MinMetricsToken {
		wrong = append(wrong, fmt.Errorf("%s has %d bytes: use at least %d, so that it is not guessed", metricsTokenVariable, n, web.MinMetricsToken))
	}
	if keys, err := secret.FromEnv(publicKeyVariable); err != nil {
		wrong = append(wrong, err)
	} else if keys == "" {
		wrong = append(wrong, errors.New(publicKeyVariable+" is not set, so no token could be checked: make a key pair with tenantpool keygen"))
	} else if o.Keys, err = web.ParsePublicKeys(keys); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", publicKeyVariable, err))
	}
	return errors.Join(wrong...)
}

// durationFromEnv is not negative.
func durationFromEnv(variable string, otherwise time.Duration) (time.Duration, error) {
	given := os.Getenv(variable)
	if given == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(given)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s is %q: it must be a duration with its unit, as 500ms or 30s, and not negative", variable, given)
	}
	return d, nil
}

// mostAtOnce is more requests than one process serves.
const mostAtOnce = 100_000

// countFromEnv leaves the default, 0, where nothing is set.
func countFromEnv(variable string, into *int) error {
	given := os.Getenv(variable)
	if given == "" {
		return nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 || n > mostAtOnce {
		return fmt.Errorf("%s is %q: it must be a number from 1 to %d", variable, given, mostAtOnce)
	}
	*into = n
	return nil
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
