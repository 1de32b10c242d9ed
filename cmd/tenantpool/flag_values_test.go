package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestBadFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want []string // parts of the error
	}{
		{"--workspaces 0", []string{`"0"`, "--workspaces", "from 1 to 10000"}},
		{"--workspaces 10001", []string{`"10001"`, "--workspaces", "from 1 to 10000"}},
		{"--workspaces many", []string{`"many"`, "--workspaces", "from 1 to 10000"}},
		{"--budget 19", []string{`"19"`, "--budget", "from 20 to 10000"}},
		{"--budget 10001", []string{`"10001"`, "--budget", "from 20 to 10000"}},
		{"--budget 40.5", []string{`"40.5"`, "--budget", "from 20 to 10000"}},
		{"--workers 0", []string{`"0"`, "--workers", "from 1 to 100000"}},
		{"--workers 100001", []string{`"100001"`, "--workers", "from 1 to 100000"}},
		{"--zipf=-0.1", []string{`"-0.1"`, "--zipf", "0 or more"}},
		{"--zipf NaN", []string{`"NaN"`, "--zipf", "0 or more"}},
		{"--zipf Inf", []string{`"Inf"`, "--zipf", "0 or more"}},
		{"--for=-1s", []string{`"-1s"`, "--for", "30s"}},
		{"--for 10", []string{`"10"`, "--for", "30s"}},
		{"--report xml", []string{`"xml"`, "--report", "text or json"}},
		{"--nonsense", []string{"--nonsense"}},
		{"surplus", []string{"surplus"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			dir := openTemp(t)
			t.Setenv("TMPDIR", dir)
			t.Setenv("PG_BIN", dir) // were anything started, this would fail
			var stdout, stderr bytes.Buffer
			status := run(t.Context(), append([]string{"demo"}, strings.Fields(test.args)...), &stdout, &stderr)
			if status != 2 || stdout.Len() > 0 {
				t.Errorf("exit status %d, standard output %q", status, &stdout)
			}
			if n := strings.Count(stderr.String(), "\n"); n != 1 {
				t.Errorf("%d lines for one error", n)
			}
			for _, want := range append(test.want, "tenantpool demo --help") {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("the error does not say %q: %s", want, &stderr)
				}
			}
		})
	}
}

func TestAWrongCommandIsRefusedWithTheRightOne(t *testing.T) {
	for _, args := range [][]string{{"dmo"}, {"dmo", "--for", "1s"}, {"nonsense"}, {"--nonsense"}} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), args, &stdout, &stderr)
		said := stderr.String()
		if status != 2 || stdout.Len() > 0 || strings.Count(said, "\n") != 1 || !strings.Contains(said, "(see tenantpool --help)") {
			t.Errorf("%q: exit status %d, standard output %q, standard error %q", args, status, &stdout, said)
		}
		if args[0] == "dmo" && len(args) == 1 && !strings.Contains(said, "did you mean demo?") {
			t.Errorf("%q: it says %q", args, said)
		}
	}
}

func TestWithoutACommandTheHelpIsShown(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), nil, &stdout, &stderr); status != 0 || !strings.Contains(stdout.String(), "demo") {
		t.Errorf("exit status %d, standard output %q, standard error %q", status, &stdout, &stderr)
	}
}

func TestHelpNamesTheDefaults(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"demo", "--help"}, &stdout, &stderr); status != 0 {
		t.Errorf("exit status %d: %s", status, &stderr)
	}
	for _, want := range []string{"(default 60)", "(default 40)", "(default 32)", "(default 1.2)", "(default 0s)", "(default text)"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the help lacks %q:\n%s", want, &stdout)
		}
	}
}

func TestABadFlagOfTheOtherBenchesIsRefusedBeforeAnythingStarts(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"planner --rate 0", "a number above 0, up to 100000"},
		{"planner --rate 1e300", "a number above 0, up to 100000"},
		{"planner --budgets 0,5 --from 5", "--budgets has 0"},
		{"planner --budgets 5 --from 6", "--from 6 is none of the --budgets"},
		{"scaling --rate NaN", "a number above 0, up to 100000"},
		{"scaling --lowest 9 --highest 8", "--lowest 9 is more than --highest 8"},
	} {
		t.Setenv("PG_BIN", t.TempDir()) // were anything started, this would fail
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), append([]string{"bench"}, strings.Fields(test.args)...), &stdout, &stderr)
		if status != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: exit status %d, %q, %q", test.args, status, &stdout, &stderr)
		}
	}
}
