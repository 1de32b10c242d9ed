package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/web"
	"github.com/tenantpool/tenantpool/web/browsertest"
)

var (
	outagesFile = flag.String("outages", "", "let PostgreSQL fail for a minute each, and write what an operator sees into this file")
	seriesFile  = flag.String("outages-series", "", "with -outages: write what Prometheus recorded into this file, as a test for promtool")
)

// looks are how long after an outage began somebody looks.
var looks = []time.Duration{time.Second, 10 * time.Second, 60 * time.Second}

// outage is what happens to PostgreSQL, and what has to wake somebody within a minute.
type outage struct {
	name, does string
	begin, end func(t *testing.T, pg *localpg.Server)
	critical   []string
}

func signalAll(t *testing.T, pg *localpg.Server, s syscall.Signal) {
	t.Helper()
	pids, err := pg.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // it may have ended
	}
}

func stop(t *testing.T, pg *localpg.Server) {
	t.Helper()
	if err := pg.Shutdown(t.Context(), localpg.Fast); err != nil {
		t.Fatal(err)
	}
}

func resume(t *testing.T, pg *localpg.Server) {
	t.Helper()
	if err := pg.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var outages = []outage{
	{"stopped", "PostgreSQL is stopped (fast), and stays so", stop, resume, []string{"TenantpoolNotReady", "TenantpoolServerDown"}},
	{
		"frozen", "All processes of PostgreSQL are frozen (SIGSTOP)",
		func(t *testing.T, pg *localpg.Server) { signalAll(t, pg, syscall.SIGSTOP) },
		func(t *testing.T, pg *localpg.Server) { signalAll(t, pg, syscall.SIGCONT) },
		[]string{"TenantpoolNotReady"},
	},
	{
		"restarted", "PostgreSQL is stopped (fast), and started again at once",
		func(t *testing.T, pg *localpg.Server) { stop(t, pg); resume(t, pg) },
		func(*testing.T, *localpg.Server) {},
		nil,
	},
}

// onCall is everything that an operator looks at.
type onCall struct {
	*served
	page       *browsertest.Page
	prometheus string

	mu      sync.Mutex
	log     []string
	answers map[string]int
}

// TestOutages takes five minutes, and needs Prometheus and a browser: task test:outages.
func TestOutages(t *testing.T) {
	if *outagesFile == "" {
		t.Skip("task test:outages runs it")
	}
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is not installed")
	}
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: 40, InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		signalAll(t, pg, syscall.SIGCONT)
		_ = pg.Stop()
	}()
	browser := browsertest.Start(t)
	var report, series strings.Builder
	for _, happens := range outages {
		t.Run(happens.name, func(t *testing.T) {
			happens.watch(t, pg, browser, prometheus, &report, &series)
		})
	}
	text := outagesHead + report.String()
	if err := os.WriteFile(*outagesFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if *seriesFile != "" {
		if err := os.WriteFile(*seriesFile, []byte(seriesHead+series.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// watch lets it happen to a program of its own, and looks.
func (happens outage) watch(t *testing.T, pg *localpg.Server, browser *browsertest.Browser, prometheus string, report, series io.Writer) {
	o := watchServe(t, pg)
	o.page = browser.Open(t, o.url, browsertest.Look{Width: 1280, Height: 1060})
	o.page.Await("the form", "document.activeElement?.id === 'token'")
	o.page.Paste(o.issue(web.Viewer))
	o.page.Press(kb.Enter)
	o.page.AwaitText("#pulse", "Live")
	o.traffic(t)
	o.startPrometheus(t, prometheus)
	eventually(t, "Prometheus has looked a few times", func() bool {
		n, _ := strconv.Atoi(o.ask(`sum(count_over_time(tenantpool_ready[5m]))`))
		return n >= 4
	})
	o.forget()
	began := time.Now()
	happens.begin(t, pg)
	fmt.Fprintf(report, "\n## %s\n\n%s.\n\n| after | dashboard | `/readyz` | metrics | clients of `workspace.query` | log, how often | alerts |\n|---|---|---|---|---|---|---|\n",
		strings.ToUpper(happens.name[:1])+happens.name[1:], happens.does)
	for _, at := range looks {
		time.Sleep(time.Until(began.Add(at)))
		fmt.Fprintf(report, "| %d s | %s |\n", int(at.Seconds()), strings.Join(o.look(), " | "))
	}
	firing := o.alerts("firing")
	for _, alert := range happens.critical {
		if !slices.Contains(firing, alert) {
			t.Errorf("%s does not fire: %q", alert, firing)
		}
	}
	if len(happens.critical) == 0 && len(firing) > 0 {
		t.Errorf("%q wake somebody for nothing", firing)
	}
	fmt.Fprint(series, o.recorded(t, happens, began))
	happens.end(t, pg)
}

const outagesHead = `# What an operator sees

` + "`task test:outages`" + ` writes this page. It runs ` + "`tenantpool serve`" + ` with its default settings and
20 connections; eight clients that each run a statement every 50 ms, in five workspaces; Prometheus
with the files in [deploy](../deploy), which scrapes every 10 s; and the dashboard in a browser.
Metrics are as served at that moment. Clients' answers and log lines are counted since the row above.
`

const seriesHead = `# What Prometheus recorded while PostgreSQL failed, written by task test:outages, and the
# alerts that must fire a minute after. promtool test rules reads it.
rule_files: [alerts.yml]
evaluation_interval: 10s
tests:
`

// watchServe starts it, and keeps its log.
func watchServe(t *testing.T, pg *localpg.Server) *onCall {
	t.Helper()
	o := &onCall{served: prepareServe(t, pg), answers: map[string]int{}}
	o.program = start(t, "serve")
	t.Cleanup(func() {
		_ = o.cmd.Process.Kill()
		_ = o.cmd.Wait()
	})
	listening := make(chan string, 1)
	go func() {
		for line := range o.lines {
			var said struct{ Message, Address string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Message == "Serving" {
				listening <- said.Address
			}
			o.mu.Lock()
			o.log = append(o.log, line)
			o.mu.Unlock()
		}
	}()
	select {
	case address := <-listening:
		o.url = "http://" + address
	case <-time.After(patience):
		t.Fatal("it does not serve")
	}
	return o
}

func (o *onCall) issue(role web.Role) string {
	o.t.Helper()
	c := web.Claims{Subject: "on call", Role: role, TTL: time.Hour}
	if role == web.Service {
		for i := range 5 {
			c.Workspaces = append(c.Workspaces, model.WorkspaceID(fmt.Sprintf("shop-%d", i)))
		}
	}
	token, err := web.Issue(o.key, c)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

var unhurried = &http.Client{Timeout: time.Minute}

func (o *onCall) send(token, path, body string) (int, string) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, o.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := unhurried.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	all, _ := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(all))
}

func (o *onCall) get(path string) (int, string) { return o.send("", path, "") }

// traffic runs until the test ends.
func (o *onCall) traffic(t *testing.T) {
	t.Helper()
	token, operator := o.issue(web.Service), o.issue(web.Operator)
	for i := range 5 {
		if status, body := o.send(operator, "/api/workspace.create", fmt.Sprintf(`{"workspaceId":"shop-%d"}`, i)); status != http.StatusCreated {
			t.Fatal(status, body)
		}
	}
	var all sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				status, body := o.send(token, "/api/workspace.query", fmt.Sprintf(`{"workspaceId":"shop-%d","sql":"SELECT 1"}`, i%5))
				var said struct{ Error string }
				_ = json.Unmarshal([]byte(body), &said)
				answer := fmt.Sprint(status)
				if said.Error != "" {
					answer += " " + said.Error
				}
				o.mu.Lock()
				o.answers[answer]++
				o.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { close(done); all.Wait() })
}

// startPrometheus has the configuration in deploy, but for where things are.
func (o *onCall) startPrometheus(t *testing.T, program string) {
	t.Helper()
	folder := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	configuration := strings.NewReplacer(
		"/etc/prometheus/alerts.yml", filepath.Join(folder, "alerts.yml"),
		"/run/secrets/metrics_token", filepath.Join(folder, "token"),
		"tenantpool:8080", strings.TrimPrefix(o.url, "http://"),
	).Replace(fileOf(t, "deploy/prometheus.yml"))
	for name, text := range map[string]string{"prometheus.yml": configuration, "alerts.yml": fileOf(t, "deploy/alerts.yml"), "token": metricsToken} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(folder, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(folder, "data"),
		"--web.listen-address="+address, "--log.level=error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.prometheus = "http://" + address
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (o *onCall) query(path string, into any) error {
	response, err := unhurried.Get(o.prometheus + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// ask is the one figure of a query, or empty.
func (o *onCall) ask(query string) string {
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := o.query("/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil || len(answer.Data.Result) == 0 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}

// alerts are the names of those in a state.
func (o *onCall) alerts(state string) (names []string) {
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels struct{ Alertname string }
			}
		}
	}
	if err := o.query("/api/v1/alerts", &answer); err != nil {
		o.t.Error(err)
	}
	for _, alert := range answer.Data.Alerts {
		if alert.State == state {
			names = append(names, alert.Labels.Alertname)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (o *onCall) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log, o.answers = nil, map[string]int{}
}

// look is a row of the table.
func (o *onCall) look() []string {
	dashboard := strings.Join(strings.Fields(o.page.Text("#pulse")+" "+strings.ReplaceAll(o.page.Text("#banners"), "\n", " ")), " ")
	o.mu.Lock()
	log, answers := o.log, o.answers
	o.mu.Unlock()
	o.forget()
	status, ready := o.get("/readyz")
	_, metrics := o.send(metricsToken, "/metrics", "")
	var figures []string
	for _, name := range []string{
		"tenantpool_ready", `tenantpool_server_up{share="workspaces"}`, `tenantpool_connections{share="workspaces",state="in_use"}`,
		`tenantpool_connections{share="workspaces",state="idle"}`, `tenantpool_connections{share="workspaces",state="dialing"}`,
		`tenantpool_waiting_acquires{share="workspaces"}`,
	} {
		found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(metrics)
		if found != nil {
			short := regexp.MustCompile(`^tenantpool_(\w+?)(?:\{.*state="(\w+)"\}|\{.*\})?$`).FindStringSubmatch(name)
			figures = append(figures, cmp.Or(short[2], short[1])+" "+found[1])
		}
	}
	said := map[string]int{}
	for _, line := range log {
		var fields struct{ Level, Message, Error string }
		if json.Unmarshal([]byte(line), &fields) == nil && fields.Message != "Request" {
			said[fields.Level+": "+fields.Message]++
		}
	}
	alerts := "none"
	if pending, firing := o.alerts("pending"), o.alerts("firing"); len(pending)+len(firing) > 0 {
		alerts = strings.TrimSuffix(strings.TrimPrefix("pending: "+strings.Join(pending, ", ")+"; firing: "+strings.Join(firing, ", "), "pending: ; "), "; firing: ")
	}
	cells := []string{dashboard, fmt.Sprintf("%d `%s`", status, ready), strings.Join(figures, ", "), counted(answers), counted(said), alerts}
	for i := range cells {
		cells[i] = strings.ReplaceAll(cmp.Or(cells[i], "nothing"), "|", "\\|")
	}
	return cells
}

// counted says how often there was what, the most frequent first.
func counted(what map[string]int) string {
	names := slices.SortedFunc(maps.Keys(what), func(a, b string) int { return cmp.Or(cmp.Compare(what[b], what[a]), strings.Compare(a, b)) })
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%d × %s", what[name], name))
	}
	return strings.Join(all, "; ")
}

// needed are the series that the rules ask for.
const needed = `{__name__=~"up|tenantpool_(up|ready|draining|server_up|dials_total|dial_failures_total|server_refusals_total|limit_errors_total|acquires_total|longest_lease_seconds|longest_wait_seconds|connections|effective_budget_connections)"}`

// recorded is a test for promtool of what Prometheus has.
func (o *onCall) recorded(t *testing.T, happens outage, began time.Time) string {
	t.Helper()
	const step = 10
	first := began.Add(-30 * time.Second).Truncate(step * time.Second)
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	until := time.Now()
	if err := o.query(fmt.Sprintf("/api/v1/query_range?query=%s&start=%d&end=%d&step=%d", url.QueryEscape(needed), first.Unix(), until.Unix(), step), &answer); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n    interval: %ds\n    input_series:\n", happens.name, step)
	lines := make([]string, 0, len(answer.Data.Result))
	for _, series := range answer.Data.Result {
		name := series.Metric["__name__"]
		delete(series.Metric, "__name__")
		series.Metric["instance"] = "tenantpool:8080"
		var labels []string
		for _, label := range slices.Sorted(maps.Keys(series.Metric)) {
			labels = append(labels, fmt.Sprintf("%s=%q", label, series.Metric[label]))
		}
		at := map[int64]string{}
		for _, value := range series.Values {
			at[int64(value[0].(float64))] = fmt.Sprint(value[1])
		}
		var values []string
		for moment := first.Unix(); moment <= until.Unix(); moment += step {
			values = append(values, cmp.Or(at[moment], "_"))
		}
		lines = append(lines, fmt.Sprintf("      - {series: '%s{%s}', values: '%s'}\n", name, strings.Join(labels, ","), strings.Join(values, " ")))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	evaluated := until.Unix() - first.Unix()
	fmt.Fprintf(&b, "    promql_expr_test:\n      - expr: count by (alertname) (ALERTS{alertstate=\"firing\",severity=\"critical\"})\n        eval_time: %ds\n        exp_samples:", evaluated-evaluated%step)
	if len(happens.critical) == 0 {
		b.WriteString(" []\n")
		return b.String()
	}
	b.WriteString("\n")
	for _, alert := range happens.critical {
		fmt.Fprintf(&b, "          - {labels: '{alertname=%q}', value: 1}\n", alert)
	}
	return b.String()
}
