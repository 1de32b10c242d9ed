package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/web"
)

// capacityPool says nothing but its capacity.
type capacityPool struct {
	web.Pool
	capacity model.Capacity
	err      error
}

func (p capacityPool) Capacity(context.Context) (model.Capacity, error) { return p.capacity, p.err }

func exampleCapacity() model.Capacity {
	e := func(budget, per int, hits float64, p99 time.Duration, refused, dials float64) model.Estimate {
		return model.Estimate{Budget: budget, PerWorkspace: per, Eviction: model.LRU, HitRatio: hits, WaitP99: p99, Refused: refused, DialsPerSecond: dials}
	}
	c := model.Capacity{
		At: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC), Window: 9*time.Minute + 30*time.Second, Acquires: 118400, SampledOneIn: 2, SystemShare: 5,
		Present: e(48, 3, 0.879, 310*time.Millisecond, 0.003, 25.2), Measured: e(48, 3, 0.882, 290*time.Millisecond, 0.002, 24.5),
		Estimates:     []model.Estimate{e(24, 3, 0.71, 2234*time.Millisecond, 0.02, 60.4), e(48, 3, 0.879, 310*time.Millisecond, 0.003, 25.2), e(62, 3, 0.95, 40*time.Millisecond, 0, 10.4), e(48, 6, 0.881, 305*time.Millisecond, 0.003, 24.8)},
		OtherEviction: e(48, 3, 0.885, 1200*time.Microsecond, 0, 23.9),
		Recommendation: model.Recommendation{Verdict: model.RaiseBudget, Budget: 62, PerWorkspace: 3,
			Text: "At 62 slots (DB_MAX_CONNECTIONS=67) 95 % of requests would find their connection open (88 % now); more than 90 gives nothing."},
	}
	c.OtherEviction.Eviction = model.LRU2
	return c
}

// serveCapacity serves a pool under a prefix, and lets the command's environment have a token
// of that role.
func serveCapacity(t *testing.T, pool capacityPool, role web.Role) (address string) {
	t.Helper()
	key := web.NewPrivateKey()
	admin, err := web.New(pool, web.Options{Keys: []web.PublicKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	if err := admin.Mount(e, "/ops/pool"); err != nil {
		t.Fatal(err)
	}
	on := httptest.NewServer(e)
	t.Cleanup(on.Close)
	t.Cleanup(admin.Close)
	token, err := web.Issue(key, web.Claims{Subject: "anna", Role: role, TTL: time.Hour, Workspaces: map[web.Role][]model.WorkspaceID{web.Service: {"a"}}[role]})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(tokenVariable, token)
	return on.URL + "/ops/pool/"
}

func runCapacity(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), append([]string{"capacity"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

func TestCapacityShowsWhatAServerSays(t *testing.T) {
	address := serveCapacity(t, capacityPool{capacity: exampleCapacity()}, web.Viewer)
	const want = `118400 requests in 9m30s, of one in 2 workspaces, until 2026-11-28 10:00:00 UTC

              slots  per workspace      hits  p99 wait   refused  dials/s
                 24              3    71.0 %      2.2s     2.0 %     60.4
now              48              3    87.9 %     310ms     0.3 %     25.2
recommended      62              3    95.0 %      40ms     0.0 %     10.4
                 48              6    88.1 %     305ms     0.3 %     24.8
measured         48              3    88.2 %     290ms     0.2 %     24.5
by lru2          48              3    88.5 %     1.2ms     0.0 %     23.9

Slots are the workspaces': with 5 of the system database they are
DB_MAX_CONNECTIONS.

At 62 slots (DB_MAX_CONNECTIONS=67) 95 % of requests would find their connection
open (88 % now); more than 90 gives nothing.
`
	if status, out, errs := runCapacity(t, "--url", address); status != 0 || out != want || errs != "" {
		t.Errorf("%d %s\n%s\nwant\n%s", status, errs, out, want)
	}
	for line := range strings.Lines(want) {
		if utf8.RuneCountInString(strings.TrimSpace(line)) > lineLength {
			t.Errorf("longer than a line: %s", line)
		}
	}

	young := exampleCapacity() // its first requests all came at once
	young.Window, young.Acquires, young.SampledOneIn, young.Recommendation.Text = 0, 5, 1, "Too little seen."
	const nothing = "5 requests in 0s, until 2026-11-28 10:00:00 UTC\n\nToo little seen.\n"
	if status, out, _ := runCapacity(t, "--url", serveCapacity(t, capacityPool{capacity: young}, web.Viewer)); status != 0 || out != nothing {
		t.Errorf("%d\n%s\nwant\n%s", status, out, nothing)
	}
	address = serveCapacity(t, capacityPool{capacity: exampleCapacity()}, web.Viewer)

	status, out, _ := runCapacity(t, "--url", address, "--json")
	var said web.Capacity
	if err := json.Unmarshal([]byte(out), &said); err != nil || status != 0 || fmt.Sprint(said.Estimates) != fmt.Sprint(web.NewCapacity(exampleCapacity()).Estimates) || strings.Contains(out, "whatIf") {
		t.Errorf("%d %v %s", status, err, out)
	}

	// The token may lie in a file.
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(os.Getenv(tokenVariable)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(tokenVariable, "")
	t.Setenv(tokenVariable+"_FILE", file)
	if status, _, errs := runCapacity(t, "--url", address); status != 0 {
		t.Error(status, errs)
	}
}

func TestCapacitySaysWhyAServerSaysNothing(t *testing.T) {
	off := serveCapacity(t, capacityPool{err: fmt.Errorf("capacity: %w: DB_PLANNER is off", errors.ErrUnsupported)}, web.Viewer)
	fails := func(want string, args ...string) {
		t.Helper()
		status, out, errs := runCapacity(t, args...)
		if status != 1 || out != "" || !strings.Contains(errs, want) || strings.Contains(errs, os.Getenv(tokenVariable)) && os.Getenv(tokenVariable) != "" {
			t.Errorf("%d %q %q, want %q", status, out, errs, want)
		}
	}
	fails("DB_PLANNER is off", "--url", off)
	fails("knows no admin.capacity: check --url; an older tenantpool has none", "--url", off+"nowhere")

	gone := httptest.NewServer(nil)
	gone.Close()
	fails("cannot be asked (--url): ", "--url", gone.URL)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, off, http.StatusFound)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/evil") {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error":"\u001b[2Jowned"}`)
			return
		}
		if r.URL.Path == "/teapot/api/admin.capacity" {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, "<p>\x1b[2J")
	}))
	t.Cleanup(other.Close)
	fails("gave no capacity: is there a tenantpool at --url", "--url", other.URL)
	fails("answered 418, which is no answer of tenantpool", "--url", other.URL+"/teapot")
	fails("answered 409: \ufffd[2Jowned", "--url", other.URL+"/evil")
	fails("answered 302, which is no answer of tenantpool", "--url", other.URL+"/moved")

	fails("does not take the token of TENANTPOOL_TOKEN: your role may not do this (403)", "--url", serveCapacity(t, capacityPool{}, web.Service))
	t.Setenv(tokenVariable, "")
	fails("TENANTPOOL_TOKEN is not set: issue a viewer's token", "--url", off)
}

func TestCapacityRefusesWhatCannotBeMeant(t *testing.T) {
	for want, args := range map[string][]string{
		"capacity takes one file, not 2":                             {"a", "b"},
		"--url is a server, and a.zip a file: leave out one of them": {"a.zip", "--url", "http://x"},
		"--what-if needs a FILE":                                     {"--what-if", "budget=60"},
		"it must be a whole number from 1 to 10000":                  {"f", "--what-if", "budget=0"},
		"it must be a whole number from 1 to 50":                     {"f", "--what-if", "cap=51"},
		"it must be lru or lru2":                                     {"f", "--what-if", "eviction=mru"},
		`"slots=3" is none of budget=SLOTS`:                          {"f", "--what-if", "slots=3"},
		`"budget=3" is none of budget=SLOTS`:                         {"f", "--what-if", "budget=2,budget=3"},
		"--url must be the address of a server":                      {"--url", "localhost:8080"},
		"address of a server, such as http://127.0.0.1":              {"--url", "http://anna:secret@localhost"},
	} {
		if status, out, errs := runCapacity(t, args...); status != exitMisused || out != "" || !strings.Contains(errs, want) || !strings.Contains(errs, "(see tenantpool capacity --help)") || strings.Contains(errs, "secret") {
			t.Errorf("%q: %d %q %q, want %q", args, status, out, errs, want)
		}
	}
}

// recordedTraffic is of 40 workspaces in turn on 20 slots, for two minutes.
func recordedTraffic(t *testing.T) []byte {
	t.Helper()
	limits := model.DefaultConfig().WorkspaceLimits()
	limits.Budget = 20
	told := planner.Traffic{Now: 2 * time.Minute, SampledOneIn: 1, Limits: limits, Effective: 20}
	for i := range 12_000 {
		a := planner.Acquire{At: time.Duration(i) * 10 * time.Millisecond, Workspace: planner.HashOf(model.WorkspaceID(fmt.Sprint("tenant-", i%40))), Held: planner.MicrosOf(5 * time.Millisecond)}
		a.Outcome, a.Waited = planner.Granted, planner.MicrosOf(6*time.Millisecond)
		told.Ended = append(told.Ended, a)
	}
	told.Acquires = 12_000
	window := planner.NewWindow(1)
	window.Add(planner.Traffic{SampledOneIn: 1, Limits: limits, Effective: 20})
	window.Add(told)
	var file bytes.Buffer
	if err := planner.Write(&file, window, planner.About{SystemShare: 5, AcquireTimeout: 5 * time.Second, Now: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)}); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestCapacityPlansWithAFile(t *testing.T) {
	folder := t.TempDir()
	bare, dump, other := filepath.Join(folder, "traffic"), filepath.Join(folder, "dump.zip"), filepath.Join(folder, "other.zip")
	traffic := recordedTraffic(t)
	pack := func(file, entry string) {
		var packed bytes.Buffer
		archive := zip.NewWriter(&packed)
		if w, err := archive.Create(entry); err != nil {
			t.Fatal(err)
		} else if _, err := w.Write(traffic); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(archive.Close(), os.WriteFile(file, packed.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	pack(dump, pools.DumpTraffic)
	pack(other, "messages.json")
	if err := os.WriteFile(bare, traffic, 0o600); err != nil {
		t.Fatal(err)
	}

	status, out, errs := runCapacity(t, dump, "--what-if", "budget=40", "--what-if", "eviction=lru2,cap=5", "--json")
	var said capacityView
	if err := json.Unmarshal([]byte(out), &said); err != nil || status != 0 || errs != "" {
		t.Fatal(status, err, errs)
	}
	if said.Present.Budget != 20 || said.SystemShare != 5 || len(said.Estimates) < 3 || len(said.Curve) == 0 || said.Recommendation.Text == "" || len(said.WhatIf) != 2 {
		t.Errorf("%s", out)
	}
	// With a slot for each workspace they are all open; in turn, with half as many, none is.
	if e := said.WhatIf[0]; e.Budget != 40 || e.PerWorkspace != said.Present.PerWorkspace || e.HitRatio < 0.99 || said.Present.HitRatio > 0.01 {
		t.Errorf("%+v, now %+v", e, said.Present)
	}
	if e := said.WhatIf[1]; e.Budget != 20 || e.PerWorkspace != 5 || e.Eviction != "lru2" {
		t.Errorf("%+v", e)
	}

	status, out, errs = runCapacity(t, bare, "--what-if", "budget=40", "--what-if", "eviction=lru2")
	for _, want := range []string{"12000 requests in 2m0s, until ", "\nnow              20              3     0.0 %", "\nmeasured         20", "\nwhat if          40              3   100.0 %", "\nwhat if lru2     20", said.Recommendation.Text[:40]} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("%d %s\n%s\nlacks %q", status, errs, out, want)
		}
	}
	if strings.Contains(out, "tenant-") {
		t.Error("a workspace's id")
	}

	for file, want := range map[string]string{
		other:                            "it is a zip file without an entry traffic (a dump has it while DB_PLANNER is on)",
		filepath.Join(folder, "nothing"): "no such file",
	} {
		if status, out, errs := runCapacity(t, file); status != 1 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %q %q", file, status, out, errs)
		}
	}
	for name, damaged := range map[string][]byte{"half": traffic[:len(traffic)/2], "words": []byte("hello\x1b[2J"), "nothing": nil} {
		if err := os.WriteFile(bare, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if status, out, errs := runCapacity(t, bare); status != 1 || out != "" || !strings.Contains(errs, "read recorded traffic") || strings.Contains(errs, "\x1b") {
			t.Errorf("%s: %d %q %q", name, status, out, errs)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said2 bytes.Buffer
	if status := run(ctx, []string{"capacity", dump}, &said2, &said2); status != exitInterrupted {
		t.Errorf("interrupted: %d %s", status, &said2)
	}
}
