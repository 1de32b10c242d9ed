package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"
	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

var _ web.Pool = (*pools.Manager)(nil)

func newServe() *cobra.Command {
	var addr string
	var pgListen []string
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
  ` + dumpDirVariable + `             a folder, made if the one above it is there: a dump
                                  is written there when somebody has waited for a
                                  connection for long (the newest 10 are kept)
  ` + dumpAfterVariable + `           how long that is (2s)
  ` + serverWaitVariable + `          how long to wait for PostgreSQL at the start (1m; 0s:
                                  for one attempt); until it answers /readyz says 503
  ` + shutdownDelayVariable + `       how long to serve on at the end, while /readyz says 503
                                  (0s)
  ` + instanceVariable + `             the name of this process, which the next one in its
                                  place has, too (host and address): it counts what
                                  this one leaves behind if it is killed
  ` + queriesVariable + `          how many workspace.query may be under way (100), each
                                  of which takes memory: more are refused
  ` + ownQueriesVariable + `
                                  how many of one token's subject (50, or all)
  ` + streamsVariable + `          how many event streams may be open (100)
  ` + ownStreamsVariable + `
                                  how many of one token's subject (20, or all)
  ` + pgListenVariable + `           where PostgreSQL's clients connect, unless --pg-listen
                                  says so: docs/wire.md has the other TENANTPOOL_PG_...
  ` + logLevelVariable + `                       debug, info (the default), warn or error
  ` + logFormatVariable + `                      json (the default) or text

A secret may lie in a file: DB_PASSWORD_FILE, ` + publicKeyVariable + secret.FileSuffix + ` and
` + metricsTokenVariable + secret.FileSuffix + ` name one, in place of the variable without ` + secret.FileSuffix + `.

On SIGTERM or Ctrl-C it serves on for the delay, then accepts no more requests, lets
those under way end, closes its connections and exits with 0; a second signal exits at
once, a SIGTERM only if it comes a second after the first. After a drain that an operator
asked for it ends as well.
On SIGHUP it reads again the files that these name: ` + publicKeyVariable + secret.FileSuffix + `,
` + metricsTokenVariable + secret.FileSuffix + `, DB_PASSWORD_FILE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, and the door's
users and certificates. What is no
good changes nothing, and the log says what was read. Variables cannot change while it
runs. The file of ` + revocationsVariable + ` wants no signal: it is looked at once a second.
Why it ended stands in its log.`,
		Example: "  tenantpool serve --addr 0.0.0.0:8080",
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("addr") {
				if set := os.Getenv(addrVariable); set != "" {
					addr = set
				}
			}
			return serveUntil(cmd.Context(), addr, pgListen, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&addr, "addr", defaultAddr, "where to listen")
	cmd.Flags().StringSliceVar(&pgListen, "pg-listen", nil, "where PostgreSQL's clients connect, such as 127.0.0.1:6432 (no door without it)")
	return cmd
}

// serveUntil runs until ctx is done, an operator's drain is, PostgreSQL does not come,
// or its listener fails. Why it ended is its log's last word.
func serveUntil(ctx context.Context, addr string, pgListen []string, stderr io.Writer) error {
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // which would end the process
	defer signal.Stop(hangUps)
	log, err := logFromEnv(stderr)
	whenInterruptedAgain(ctx, func(by interruptedBy) {
		log.WithField("signal", by.Error()).Error("Interrupted again: not waiting any longer")
	})
	built := build.Current()
	log.WithFields(logrus.Fields{"version": built.Version, "revision": built.Revision, "go": built.Go}).Info("Starting")
	set, wrong := serveConfig()
	if len(pgListen) > 0 {
		set.door.listen = pgListen
	}
	if err = errors.Join(wrong, set.door.check(), err); err == nil {
		err = runServer(ctx, addr, set, log, hangUps)
	}
	if err != nil {
		log.WithField("error", err.Error()).Error("Ended by an error")
		return &toldError{err}
	}
	return nil
}

func runServer(ctx context.Context, addr string, set serveSettings, log *logrus.Logger, hangUps <-chan os.Signal) error {
	structured := slog.New(logrusslog.NewHandler(log, nil))
	set.web.Log = structured
	listener, err := net.Listen("tcp", addr) // before anything is dialed: this is told at once
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, where it came that far
	manager, err := pools.Open(ctx, set.pool, append(set.dumps, pools.WithLogger(structured), pools.WithLateServer(), pools.WithInstance(instance(listener.Addr())))...)
	if err != nil {
		return err
	}
	var wire *wireDoor
	if len(set.door.listen) > 0 {
		set.web.Door = func() model.DoorStats { return wire.door.Stats() }
	}
	server, err := web.New(manager, set.web)
	if err != nil {
		return errors.Join(err, drain(manager, log))
	}
	log.WithField("address", listener.Addr().String()).Info("Listening")
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	wire, err = openDoor(set.door, manager, server, structured, end)
	if err != nil {
		return errors.Join(err, drain(manager, log))
	}
	err = (&serving{manager, server, listener, log, set, newReread(), wire, false}).until(ctx, hangUps)
	err = errors.Join(err, wire.close(0))
	if isClosed(server.Drained()) {
		return err // and the log has said so
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
	set      serveSettings
	reread   reread // the files that a reload reads again
	door     *wireDoor
	answered bool // PostgreSQL has, so that credentials can be tried
}

// until serves until ctx is done and the requests under way have ended.
func (s *serving) until(ctx context.Context, hangUps <-chan os.Signal) error {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	met, ended := make(chan struct{}), make(chan error, 1)
	var unmet error // once met is closed
	go func() {
		defer close(met)
		unmet = s.meetServer(serving)
	}()
	go func() { ended <- s.server.Serve(serving, s.listener) }()
	drained, interrupted := s.server.Drained(), ctx.Done()
	var failed error
	for {
		select {
		case <-met:
			met, s.answered = nil, unmet == nil
			if unmet != nil && serving.Err() == nil {
				failed = unmet
				s.server.Close() // nobody was served: there is no delay
				end()
			}
		case <-hangUps:
			s.reload(ctx)
		case <-drained:
			drained = nil
			end()
		case <-interrupted:
			interrupted = nil
			s.shuttingDown(context.Cause(ctx))
			end()
			go func() { _ = s.door.close(s.set.web.ShutdownDelay) }() // beside the requests
		case err := <-ended:
			end()
			if met != nil {
				<-met
			}
			return errors.Join(failed, err)
		}
	}
}

// shuttingDown says how long the end may take, before it begins.
func (s *serving) shuttingDown(why error) {
	s.log.WithFields(logrus.Fields{
		"signal":             why.Error(),
		"delay":              s.set.web.ShutdownDelay.String(),
		"requests_within":    requestsWithin.String(),
		"connections_within": drainWithin.String(),
	}).Info("Shutting down")
}

// meetServer waits for PostgreSQL: without a wait, for as long as one attempt may take.
func (s *serving) meetServer(ctx context.Context) error {
	atMost, variable := s.set.serverWait, serverWaitVariable
	if atMost == 0 {
		atMost, variable = cmp.Or(s.set.pool.AcquireTimeout, s.set.pool.DialTimeout), "the one attempt of "+serverWaitVariable+"=0s"
	}
	waiting, stop := context.WithTimeout(ctx, atMost)
	defer stop()
	switch err := s.manager.WaitForServer(waiting); {
	case err != nil && waiting.Err() != nil:
		return fmt.Errorf("PostgreSQL could not be used within %v (%s): %w", atMost, variable, err)
	case err != nil:
		return fmt.Errorf("PostgreSQL refuses this program, and waiting would not help: %w", err)
	}
	warn(ctx, s.manager, s.log)
	s.log.WithField("address", s.listener.Addr().String()).Info("Serving")
	return nil
}

// requestsWithin is a little longer than a statement may take.
const requestsWithin = 35 * time.Second

// drain closes the manager, whose leases have come home with their requests.
func drain(manager *pools.Manager, log logrus.FieldLogger) error {
	log.Info("Draining")
	ctx, stop := context.WithTimeout(context.Background(), drainWithin)
	defer stop()
	if err := manager.Close(ctx); err != nil {
		return err
	}
	log.Info("Drained")
	return nil
}

// isClosed tells whether it is closed already.
func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
