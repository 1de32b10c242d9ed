package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/web"
)

// Bodies made to cost much, from two service tokens, with the bounds of the files in
// deploy, whose limit is 500 MiB. Decoded into a tree of values, the first forty took
// 2.9 GB.
func TestServeStaysWithinTheMemoryOfTheDeployFiles(t *testing.T) {
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes several times the memory")
	}
	for name, value := range map[string]string{
		"GOMEMLIMIT": "450MiB", "TENANTPOOL_MAX_QUERIES": "30", "TENANTPOOL_MAX_QUERIES_PER_SUBJECT": "15",
	} {
		t.Setenv(name, value)
	}
	s := startServe(t)
	peak := func() int {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
		if err != nil {
			t.Skip("there is no /proc to read the program's memory from: ", err)
		}
		kilobytes, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kilobytes >> 10
	}
	t.Logf("at the beginning: %d MiB", peak())
	tokens := []string{}
	for _, subject := range []string{"one", "two"} {
		token, err := web.Issue(s.key, web.Claims{Subject: subject, Role: web.Service, Workspaces: loadWorkspaces(), TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	body := func(argument string, n int) string {
		return `{"workspaceId":"load0","sql":"SELECT 1","args":[` + strings.Repeat(argument+",", n-1) + argument + `]}`
	}
	for what, test := range map[string]struct {
		body    string
		clients int
	}{
		"half a million arguments":                               {body("1", 500_000), 40},
		"as many arguments of 12 characters as PostgreSQL takes": {body(`"123456789012"`, 65_535), 100},
	} {
		var all sync.WaitGroup
		for i := range test.clients {
			all.Go(func() {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
				_ = post(client, s.url+"/api/workspace.query", tokens[i%2], test.body) // whatever it answers
			})
		}
		all.Wait()
		t.Logf("%d bodies with %s: %d MiB", test.clients, what, peak())
	}
	if n := peak(); n > 500 {
		t.Errorf("the program took %d MiB", n)
	}
	if status, said := s.ask(web.Viewer, "/healthz", ""); status != http.StatusOK {
		t.Errorf("afterwards /healthz says %d %s", status, said)
	}
	s.signal(syscall.SIGTERM)
	if status := s.ended(); status != 0 {
		t.Errorf("exit status %d:\n%s", status, s.stderr())
	}
}
