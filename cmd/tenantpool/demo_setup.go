package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/cmd/figures"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// demoStage is all that the demo puts up and takes down again.
type demoStage struct {
	config     model.Config
	server     *localpg.Server
	judge      *judge
	manager    *pools.Manager
	workspaces []model.WorkspaceID
	filler     *filler
	admin      *admin // nil: none is wanted
}

// The server refuses the role when no more of max_connections are free than
// superuser_reserved_connections, whoever has the others. The judge is a
// superuser and has one for all the time, so this leaves the role its budget and
// not one more.
const (
	judges   = 1
	reserved = 2
)

// setUp starts the server and creates the workspaces. On an error nothing is
// left behind.
func setUp(ctx context.Context, o demoOptions, con *console) (_ *demoStage, err error) {
	s := &demoStage{}
	defer func() {
		if err == nil {
			return
		}
		if ctx.Err() != nil { // what failed then does not matter
			err = fmt.Errorf("%w before the traffic began", errInterrupted)
		}
		err = errors.Join(err, s.tearDown(&report{}))
	}()
	if s.admin, err = listenAdmin(o, con); err != nil {
		return nil, err
	}
	began := time.Now()
	con.show("starting PostgreSQL ...")
	s.server, err = localpg.Start(ctx, localpg.Options{
		MaxConnections: o.budget + judges + reserved,
		Settings:       serverSettings(),
	})
	if err != nil {
		return nil, err
	}
	con.show("")
	con.println(fmt.Sprintf("PostgreSQL is up, max_connections %d: %d for the demo, %d for its observer, %d reserved (%s)",
		o.budget+judges+reserved, o.budget, judges, reserved, figures.Roundly(time.Since(began).Seconds())))

	if s.judge, err = startJudge(ctx, s.server); err != nil {
		return nil, err
	}
	s.config = demoConfig(o, s.server)
	log := logrus.New()
	log.SetOutput(con)
	log.SetLevel(logrus.WarnLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	if s.manager, err = pools.Open(ctx, s.config, pools.WithLogger(log)); err != nil {
		return nil, err
	}
	began = time.Now()
	if s.workspaces, err = createWorkspaces(ctx, s.manager, s.config.Prefix, o.workspaces, con); err != nil {
		return nil, err
	}
	con.println(fmt.Sprintf("%s workspaces, each with a database of its own (%s)", figures.Grouped(len(s.workspaces)), figures.Roundly(time.Since(began).Seconds())))
	if s.filler, err = startFiller(ctx, s.manager, s.config.SystemLimits().PerWorkspace); err != nil {
		return nil, err
	}
	return s, s.admin.serve(s.manager, log, con)
}

// serverSettings are what the demo needs besides localpg's own: a log in which
// refused connections stand out, and a bound on the disk that a long run takes.
func serverSettings() map[string]string {
	return map[string]string{
		"superuser_reserved_connections": fmt.Sprint(reserved),
		"log_min_messages":               "fatal",
		"log_line_prefix":                logPrefix,
		"max_wal_size":                   "256MB",
	}
}

func demoConfig(o demoOptions, server *localpg.Server) model.Config {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port = server.Host, server.Port
	cfg.User, cfg.Password = server.User, server.Password
	cfg.SSLMode = "disable" // it has no certificate
	cfg.SystemDatabase = server.Database
	cfg.MaxConnections = o.budget
	// All workers may wait at once, even for the same workspace.
	cfg.MaxWaiters = max(cfg.MaxWaiters, o.workers)
	cfg.MaxWaitersPerDB = max(cfg.MaxWaitersPerDB, o.workers)
	return cfg
}

// drainWithin bounds the end of the manager, whose connections are all at home.
const drainWithin = 20 * time.Second

// tearDown ends everything that is up, and adds to the report what the server
// has seen.
func (s *demoStage) tearDown(rep *report) error {
	ctx, stop := context.WithTimeout(context.Background(), drainWithin)
	defer stop()
	var failed []error
	s.admin.close()
	if s.filler != nil {
		s.filler.stop()
	}
	if s.manager != nil {
		failed = append(failed, s.manager.Close(ctx))
	}
	if s.judge != nil {
		failed = append(failed, s.judge.testify(ctx, rep))
	}
	if s.server != nil {
		failed = append(failed, s.server.Stop())
	}
	return errors.Join(failed...)
}
