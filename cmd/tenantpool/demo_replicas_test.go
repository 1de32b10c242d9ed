package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// Each of two processes has more than half of the budget when it is busy.
func TestDemoOfReplicas(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--replicas", "2", "--workspaces", "12", "--budget", "20", "--workers", "16", "--report", "json", "--addr", "127.0.0.1:0")
	most := map[int]int{} // share of a busy one
	for most[0] <= 10 || most[1] <= 10 {
		line, ok := p.next()
		if !ok {
			t.Fatalf("it ended with shares of %v:\n%s", most, p.stderr())
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.Contains(fields[0], ":") {
			continue
		}
		for i, cell := range fields[2:4] {
			var share, inUse int
			if n, _ := fmt.Sscanf(cell, ">%d/%d", &share, &inUse); n == 2 {
				most[i] = max(most[i], share)
			}
		}
	}
	if !strings.HasPrefix(p.told("dashboard"), "http://127.0.0.1:") {
		t.Error("there is no admin server")
	}
	p.interrupt()
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	r := decode(t, p.stdout.Bytes())
	check(t, r)
	if len(r.Replicas) != 2 || r.Replicas[0].Requests == 0 || r.Replicas[1].Requests == 0 || r.Replicas[0].Requests+r.Replicas[1].Requests != r.Requests || r.P50Ms <= 0 || r.Dials == 0 {
		t.Errorf("%+v", r)
	}
}

func TestTheProcessesOfADemoEndWithIt(t *testing.T) {
	t.Parallel()
	const mark = "--zipf=1.0625"
	p := start(t, "demo", "--replicas", "3", "--workspaces", "2", "--budget", "20", "--workers", "4", "--zipf", "1.0625", "--addr", "")
	p.await("time") // the rows' header
	living := func() (n int) {
		for _, command := range commands(t) {
			if strings.Contains(command, replicaCommand) && strings.Contains(command, mark) {
				n++
			}
		}
		return n
	}
	if n := living(); n != 3 {
		t.Fatalf("there are %d", n)
	}
	if err := p.cmd.Process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	p.exit()
	eventually(t, "they have ended, and so has the server", func() bool { return living() == 0 && len(p.leftBehind()) == 0 })
}

func TestReplicasThatDoNotFitAreRefusedAtOnce(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), strings.Fields("demo --replicas 8 --budget 35"), &out, &errs); status != exitMisused || !strings.Contains(errs.String(), "8 replicas need 36 connections") {
		t.Errorf("%d %s", status, &errs)
	}
}

func TestTheBarOfABudget(t *testing.T) {
	s := &replicaShow{demoOptions: demoOptions{budget: 40, replicas: 3}, busy: 0}
	for i, now := range []replicaNow{{Share: 20, InUse: 5, Open: 18}, {Share: 3}, {Share: 3, InUse: 3, Open: 3}} {
		s.all = append(s.all, &replica{name: string(rune('A' + i)), now: now})
	}
	if got, want := s.row(7*time.Second, 1234), " 0:07  1,234   >20/5     3/0     3/3 AAAAAaaaaaaaaaaaaaaabbbCCC.............."; got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	s.budget = 400 // the bar is shorter than that
	s.all[0].now = replicaNow{Share: 390, InUse: 390}
	s.all[2].ended = true
	if got := s.row(2*time.Hour, 1e9); len(got) > 77 || !strings.Contains(got, ">390/390") || !strings.Contains(got, " gone ") || !strings.Contains(got, " AAAAAAA") {
		t.Errorf("%d %q", len(got), got)
	}
}

func TestAProcessThatWasKilledIsNoBug(t *testing.T) {
	s := &replicaShow{demoOptions: demoOptions{budget: 40, workspaces: 3, replicas: 2}}
	tally := stage.NewTally()
	tally.Requests, tally.OK = 10, 10
	s.all = []*replica{
		{name: "A", ended: true, most: 20, now: replicaNow{Sent: 10, End: &replicaEnd{Tally: tally, Budget: 40, Counters: model.Counters{Hits: 4, HandOffs: 4}}}},
		{name: "B", ended: true, most: 9, now: replicaNow{Sent: 7}},
	}
	r := s.report(&stage.Stage{}, time.Second)
	want := []replicaReport{{Process: "A", Requests: 10, MostConnections: 20}, {Process: "B", Requests: 7, MostConnections: 9, Lost: true}}
	if r.Requests != 10 || r.HitRatio != 0.5 || r.LimitsChanged || !slices.Equal(r.Replicas, want) {
		t.Errorf("%+v", r)
	}
	r.PeakServerBackends, r.ServerRefusals, r.BackendsAfterClose = 40, 1, 1
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	if err := r.write(&text, textReport); err != nil || !strings.Contains(text.String(), "A process was lost") || !strings.Contains(text.String(), "it was lost, and is in no sum") {
		t.Errorf("%v %s", err, &text)
	}
	if r.PeakServerBackends = 41; r.verdict() == nil {
		t.Error("more than the budget is one")
	}
}
