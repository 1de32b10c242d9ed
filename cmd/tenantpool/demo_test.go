package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// decode takes the one JSON object that standard output must be.
func decode(t *testing.T, stdout []byte) (r report) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		t.Fatalf("standard output is not a report: %v\n%s", err, stdout)
	}
	if _, err := decoder.Token(); err != io.EOF {
		t.Fatalf("standard output is more than one JSON object:\n%s", stdout)
	}
	return r
}

// check is what every run of the demo must show.
func check(t *testing.T, r report) {
	t.Helper()
	if r.Requests == 0 || r.OK == 0 {
		t.Errorf("%d requests, %d ok", r.Requests, r.OK)
	}
	for kind, n := range r.Errors {
		if kind != stage.Cancelled && n > 0 {
			t.Errorf("%d errors of the kind %s: %s", n, kind, r.ErrorExamples[kind])
		}
	}
	if r.Failed != 0 || r.OK+r.Errors[stage.Cancelled] != r.Requests {
		t.Errorf("%d requests: %d ok, %d cancelled, %d failed", r.Requests, r.OK, r.Errors[stage.Cancelled], r.Failed)
	}
	if r.ServerRefusals != 0 {
		t.Errorf("the server refused %d connections", r.ServerRefusals)
	}
	if r.PeakServerBackends > r.Budget || r.PeakServerBackends == 0 {
		t.Errorf("the server counted up to %d connections, the budget is %d", r.PeakServerBackends, r.Budget)
	}
	if r.BackendsAfterClose != 0 {
		t.Errorf("%d connections are left after the manager's Close", r.BackendsAfterClose)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--for", "2s", "--workspaces", "30", "--budget", "20", "--workers", "16", "--report", "json", "--addr", "127.0.0.1:0")
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	t.Logf("%s\n%s", p.stderr(), p.stdout.Bytes())
	r := decode(t, p.stdout.Bytes())
	check(t, r)
	if r.Workspaces != 30 || r.Budget != 20 || r.Workers != 16 || r.Zipf != 1.2 || r.WorkspaceBudget != 15 {
		t.Errorf("the report is about another run: %+v", r)
	}
	if r.Errors[stage.Cancelled] == 0 {
		t.Error("no request was cancelled on the way")
	}
	if r.Evictions == 0 || r.Dials == 0 || r.Hits == 0 {
		t.Errorf("%d evictions, %d dials, %d hits", r.Evictions, r.Dials, r.Hits)
	}
	if r.Seconds < 2 || r.P50Ms <= 0 || r.P99Ms < r.P50Ms || r.AcquireP99Ms < r.AcquireP50Ms || r.AcquireP50Ms > r.P50Ms {
		t.Errorf("times make no sense: %+v", r)
	}
}

// An operator may do what the dashboard offers: it is no bug of the demo.
func TestADemoThatAnOperatorDrainsEnds(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--workspaces", "12", "--budget", "20", "--workers", "8", "--report", "json", "--addr", "127.0.0.1:0")
	p.await("0:0") // the first row
	ask := func(call, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.told("dashboard")+"api/"+call, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+p.told("operator token"))
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", call, answer.Status)
		}
	}
	defer http.DefaultClient.CloseIdleConnections()
	ask("admin.setLimits", `{"maxConnections":30}`)
	ask("admin.drain", `{"confirm":"drain"}`)
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if r := decode(t, p.stdout.Bytes()); !r.Drained || r.Failed != 0 || r.Requests == 0 {
		t.Errorf("%+v", r)
	}
}

func TestInterruptDrainsAndRemovesEverything(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--workspaces", "12", "--budget", "20", "--workers", "8", "--report", "json", "--addr", "")
	p.await("0:0") // the first row
	p.interrupt()
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	check(t, decode(t, p.stdout.Bytes()))
	if !strings.Contains(p.stderr(), "interrupted: letting the requests under way finish") {
		t.Errorf("it did not say that it was interrupted:\n%s", p.stderr())
	}
}

func TestASecondInterruptExitsAtOnce(t *testing.T) {
	t.Parallel()
	// Thousands of requests queue for the three connections of one workspace, and
	// all of them are under way when the first interrupt comes.
	p := start(t, "demo", "--workspaces", "2", "--budget", "20", "--workers", "5000", "--zipf", "1000", "--addr", "")
	p.await("time") // the rows' header
	p.interrupt()
	p.await("interrupted: letting")
	p.interrupt()
	if status := p.exit(); status != 130 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if p.stdout.Len() > 0 {
		t.Errorf("it wrote a report: %s", &p.stdout)
	}
	// localpg's watchdog removes what we left.
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	for len(p.leftBehind()) > 0 && ctx.Err() == nil {
		stage.Pause(ctx, 50*time.Millisecond)
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestInterruptDuringTheSetup(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--workspaces", "5000", "--addr", "127.0.0.1:0")
	p.await("PostgreSQL is up")
	p.endsInterrupted("tenantpool: demo: interrupted before the traffic began")
}

// endsInterrupted interrupts it before it has a result. Nothing is left then.
func (p *program) endsInterrupted(lastWord string) {
	p.t.Helper()
	p.interrupt()
	if status := p.exit(); status != 130 {
		p.t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		p.t.Errorf("left behind: %q", left)
	}
	if p.stdout.Len() > 0 {
		p.t.Errorf("it wrote a report: %s", &p.stdout)
	}
	if last := p.said[len(p.said)-1]; last != lastWord {
		p.t.Errorf("its last word is %q", last)
	}
}

// In this process, so that goleak sees the goroutines that it leaves.
func TestTheTextReport(t *testing.T) {
	t.Setenv("TMPDIR", openTemp(t))
	for name, value := range map[string]string{ // about other servers
		"PGSERVICE": "nope", "PGTARGETSESSIONATTRS": "read-only", "PGOPTIONS": "-c no=such", "PGPASSWORD": "wrong", "PGSSLMODE": "require",
	} {
		t.Setenv(name, value)
	}
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"demo", "--for", "1500ms", "--workspaces", "3", "--budget", "20", "--workers", "4", "--zipf", "0", "--addr", "127.0.0.1:0"}, &stdout, &stderr)
	if status != 0 {
		t.Errorf("exit status %d:\n%s", status, &stderr)
	}
	for _, want := range []string{
		"\n3 workspaces shared 15 connections, at most 3 each, for ",
		"requests/s from 4 workers",
		"\n    failed                0\n",
		"\n    budget               20   15 for workspaces, 5 for the system database\n",
		"\n    refused               0   logins",
		"\nThe budget was never exceeded, and every request reached its own workspace's database.\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, &stdout)
		}
	}
	if strings.ContainsAny(stderr.String(), "\r\x1b") {
		t.Errorf("standard error is no terminal, but has control characters: %q", &stderr)
	}
	for _, want := range []string{"PostgreSQL is up, max_connections 23: 20 for", "\n3 workspaces, each with", liveHeader + "\n", "\n 0:01 "} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("standard error lacks %q:\n%s", want, &stderr)
		}
	}
	if files, _ := os.ReadDir(os.Getenv("TMPDIR")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}
