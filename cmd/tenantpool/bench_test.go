package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/bench"
)

func TestBenchReportsJSONAndDrawsAChart(t *testing.T) {
	t.Parallel()
	chart := filepath.Join(t.TempDir(), "chart.svg")
	p := start(t, "bench", "--workload", "zipf", "--workspaces", "12", "--budget", "20", "--workers", "8", "--for", "100ms", "--rounds", "2",
		"--strategies", "tenantpool,connect", "--query", "select 2", "--think", "1ms", "--seed", "7", "--report", "json", "--chart", chart)
	if status := p.exit(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, p.stderr())
	}
	if left := p.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	var r bench.Result
	if err := json.Unmarshal(p.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v:\n%s", err, &p.stdout)
	}
	if r.Query != "select 2" || r.Rounds != 2 || r.ThinkMs != 1 || r.Seed != 7 || len(r.Workloads) != 1 || len(r.Workloads[0].Strategies) != 2 {
		t.Errorf("the report is about another run: %+v", r)
	}
	if own := r.Workloads[0].Strategies[0]; own.Name != "tenantpool" || own.Requests == 0 || own.Failed != 0 {
		t.Errorf("%+v", own)
	}
	// In the second round the other one is first.
	var turns []string
	for _, line := range p.said {
		if of, ok := strings.CutPrefix(line, "zipf, round "); ok {
			turns = append(turns, strings.Join(strings.Fields(of)[:2], " "))
		}
	}
	if got := strings.Join(turns, ", "); got != "1: tenantpool, 1: connect, 2: connect, 2: tenantpool" {
		t.Errorf("turns: %s", got)
	}
	if svg, err := os.ReadFile(chart); err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("the chart: %v", err)
	}
}

// A profile has its labels in a table of strings, each with a tag and its length.
func TestTheProfileNamesTheTurns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, profile := filepath.Join(dir, "mine.json"), filepath.Join(dir, "cpu.pprof")
	if err := os.WriteFile(file, []byte(`[{"name": "all-the-same"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "bench", "--workload-file", file, "--workspaces", "3", "--budget", "20", "--workers", "4", "--for", "1s", "--rounds", "1",
		"--strategies", "tenantpool", "--profile", profile)
	if status := p.exit(); status != 0 {
		t.Fatalf("exit status %d:\n%s", status, p.stderr())
	}
	packed, err := os.Open(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"workload", "all-the-same", "strategy", "tenantpool"} {
		if !strings.Contains(string(content), "\x32"+string(rune(len(want)))+want) {
			t.Errorf("the profile lacks the label %q", want)
		}
	}
}

func TestAnInterruptedBenchRemovesEverything(t *testing.T) {
	t.Parallel()
	p := start(t, "bench", "--workload", "zipf", "--workspaces", "6", "--budget", "20", "--workers", "4", "--for", "500ms", "--rounds", "1000",
		"--strategies", "tenantpool,pgbouncer")
	p.await("zipf, round 1: tenantpool")
	p.endsInterrupted("tenantpool: bench: interrupted before it was done") // in the middle of PgBouncer's turn
}

func TestBenchRefusesAWrongCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"--workload heavy":                "all, or some of all-fit,zipf,uniform,bursty,noisy",
		"--strategies tenantpool,odyssey": `there is no "odyssey"`,
		"--workspaces 1":                  "from 2 to 10000",
		"--budget 19":                     "from 20 to 10000",
		"--cap 0":                         "from 1 to 50",
		"--cap 30 --budget 20":            "--cap 30 is more than the 15 connections",
		"--workers 0":                     "from 1 to 10000",
		"--for 99ms":                      "at least 100ms",
		"--for soon":                      "such as 5s",
		"--think=-1ms":                    "0 or a duration above",
		"--rounds 0":                      "from 1 to 1000",
		"--seed x":                        "--seed",
		"--report yaml":                   "text or json",
		"--chart bench.png":               "use .html or .svg",
		"--workload-file nowhere.json":    "nowhere.json: no such file",
		"--workload zipf --workload-file nowhere.json": "exclude each other",
		"surplus": "takes flags only",
	} {
		status, stdout, stderr := called(t, append([]string{"bench"}, strings.Fields(args)...)...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit status %d, %q, %q, want %s", args, status, stdout, stderr, want)
		}
	}
}

func TestAServerThatCannotBeReachedIsNoUsageError(t *testing.T) {
	status, stdout, stderr := called(t, "bench", "--dsn", "postgres://me:hunter2@127.0.0.1:1/db")
	if status != 1 || stdout != "" || !strings.Contains(stderr, "--dsn: ") || strings.Contains(stderr, "hunter2") {
		t.Errorf("exit status %d, %q, %q", status, stdout, stderr)
	}
}
