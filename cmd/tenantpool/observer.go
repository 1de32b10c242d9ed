package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/serverview"
)

// judge is the server's own view of what the demo does.
type judge struct {
	watch  *serverview.Watch
	server *localpg.Server
}

// lookEvery is how often pg_stat_activity is sampled.
const lookEvery = 20 * time.Millisecond

func startJudge(ctx context.Context, server *localpg.Server) (*judge, error) {
	watch, err := serverview.Start(ctx, server.SuperuserDSN(), server.User, lookEvery)
	if err != nil {
		return nil, err
	}
	return &judge{watch, server}, nil
}

// testify ends the watch and adds to the report what the server saw. It comes
// after the manager's Close, when the server should have nothing left.
func (j *judge) testify(ctx context.Context, rep *report) error {
	left, err := j.watch.Count(ctx)
	j.watch.Stop()
	rep.PeakServerBackends = j.watch.Peak()
	rep.ServerSamples = j.watch.Samples()
	rep.BackendsAfterClose = left
	rep.ServerRefusals = max(rep.ServerRefusals, refusalsIn(j.server.LogTail()))
	return errors.Join(err, j.watch.Err())
}

// The server's log holds one line for each login that it refused, with the
// SQLSTATE in it, and (log_min_messages is fatal) hardly anything else. LogTail
// is its end: when there are so many refusals that some are missing there, the
// manager has counted them too.
const (
	logPrefix    = "%m [%p] %e "
	tooManyInLog = " 53300 FATAL: "
)

func refusalsIn(log string) uint64 { return uint64(strings.Count(log, tooManyInLog)) }
