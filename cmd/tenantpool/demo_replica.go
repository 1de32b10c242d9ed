package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// One process of demo --replicas. The demo that has started it says on its standard input
// when it is busy, and reads from its standard output what it does. When the input ends it
// does, too: the demo has ended, however that came.

// replicaCommand is not for people.
const replicaCommand = "demo-replica"

// What the input has, one a line.
const (
	beBusy  = "busy"
	beQuiet = "quiet"
)

// replicaNow is a line of the output. The first comes when the process can serve.
type replicaNow struct {
	// Share is how many connections it may have; Open and InUse are the system
	// database's, too.
	Share, Open, InUse, Waiting int
	Sent, Failed                uint64
	// End is the last line's.
	End *replicaEnd `json:",omitempty"`
}

// replicaEnd is what a process has come to.
type replicaEnd struct {
	Tally    stage.Tally
	Counters model.Counters // the workspaces'
	Refusals uint64         // logins that the server had no room for
	Budget   int            // the group's, at the end
	Draining bool           // an operator has drained it
}

// replicaProcess is the process's own side.
type replicaProcess struct {
	demoOptions
	out     *json.Encoder
	stage   *stage.Stage
	manager *pools.Manager
	tally   stage.Tally
	// traffic and rest are nil while it is quiet.
	traffic *stage.Traffic
	rest    context.CancelFunc
	ended   chan stage.Tally
}

func newDemoReplica() *cobra.Command {
	var p replicaProcess
	var name string
	cmd := &cobra.Command{
		Use:    replicaCommand,
		Short:  "One process of demo --replicas",
		Hidden: true,
		Args:   flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.run(cmd, name)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "")
	flags.IntVar(&p.workspaces, "workspaces", 0, "")
	flags.IntVar(&p.workers, "workers", 0, "")
	flags.Float64Var(&p.zipf, "zipf", 0, "")
	flags.StringVar(&p.addr, "addr", "", "")
	flags.BoolVar(&p.addrGiven, "addr-given", false, "")
	return cmd
}

// run serves until the input ends or it is interrupted.
func (p *replicaProcess) run(cmd *cobra.Command, name string) (err error) {
	ctx := cmd.Context()
	con := stage.StartConsole(cmd.ErrOrStderr())
	defer con.Stop()
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		return err
	}
	cfg.MaxWaiters, cfg.MaxWaitersPerDB = max(cfg.MaxWaiters, p.workers), max(cfg.MaxWaitersPerDB, p.workers)
	if p.stage, err = stage.Enter(cfg, p.workspaces); err != nil {
		return err
	}
	log := con.Logger().With("process", name)
	admin, err := listenAdmin(p.demoOptions, con)
	if err != nil {
		return err
	}
	defer admin.close()
	if p.manager, err = pools.Open(ctx, cfg, pools.WithLogger(log)); err != nil {
		return err
	}
	defer func() {
		closing, stop := context.WithTimeout(context.Background(), drainWithin)
		defer stop()
		err = errors.Join(err, p.manager.Close(closing))
	}()
	if err := admin.serve(p.manager, log, con); err != nil {
		return err
	}
	p.out = json.NewEncoder(cmd.OutOrStdout())
	p.tally = stage.NewTally()
	told := make(chan string)
	go func() {
		defer close(told)
		for lines := bufio.NewScanner(cmd.InOrStdin()); lines.Scan(); {
			told <- lines.Text()
		}
	}()
	return p.serve(ctx, told)
}

// serve returns when it has said its last line.
func (p *replicaProcess) serve(ctx context.Context, told <-chan string) error {
	look := time.NewTicker(redrawEvery)
	defer look.Stop()
	var failed error
	for failed == nil {
		select {
		case <-ctx.Done():
			return p.sayEnd()
		case line, more := <-told:
			switch {
			case !more:
				return p.sayEnd()
			case line == beBusy:
				p.busy()
			case line == beQuiet:
				p.quiet()
			}
		case <-look.C:
			failed = p.say(nil)
		}
	}
	p.quiet()
	return failed
}

func (p *replicaProcess) busy() {
	if p.traffic != nil {
		return
	}
	ctx, rest := context.WithCancel(context.Background())
	traffic, ended := stage.NewTraffic(p.manager, p.stage, p.zipf), make(chan stage.Tally, 1)
	p.traffic, p.rest, p.ended = traffic, rest, ended
	go func() { ended <- traffic.Run(ctx, p.workers) }()
}

// quiet lets the requests under way finish.
func (p *replicaProcess) quiet() {
	if p.traffic == nil {
		return
	}
	p.rest()
	p.tally.Add(<-p.ended)
	p.traffic = nil
}

func (p *replicaProcess) say(end *replicaEnd) error {
	st, err := p.manager.Stats(context.Background())
	drained := errors.Is(err, model.ErrClosed) // by an operator
	if err != nil && !drained {
		return err
	}
	now := replicaNow{
		Share: st.Shared.Limit, Open: st.Workspaces.Open() + st.System.Open(), InUse: st.Workspaces.InUse + st.System.InUse,
		Waiting: st.Workspaces.Waiting, Sent: p.tally.Requests, Failed: p.tally.Failed(), End: end,
	}
	if p.traffic != nil {
		sent, failed := p.traffic.SoFar()
		now.Sent, now.Failed = now.Sent+sent, now.Failed+failed
	}
	if end != nil {
		end.Counters, end.Refusals, end.Budget, end.Draining = st.Workspaces.Counters, st.Shared.Refusals, st.Shared.Budget, drained || st.Workspaces.Draining
	}
	return p.out.Encode(now)
}

func (p *replicaProcess) sayEnd() error {
	p.quiet()
	return p.say(&replicaEnd{Tally: p.tally})
}
