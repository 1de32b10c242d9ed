package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

const (
	tokenVariable = "TENANTPOOL_TOKEN"
	// askTimeout is longer than a server takes that answers at all.
	askTimeout = 15 * time.Second
	// mostAnswer is more than an admin.capacity has.
	mostAnswer = 1 << 20
)

// capacityOptions are the flags of capacity.
type capacityOptions struct {
	url    string
	whatIf whatIfs
	json   bool
}

func newCapacity() *cobra.Command {
	var o capacityOptions
	cmd := &cobra.Command{
		Use:   "capacity [FILE]",
		Short: "Say which connection budget the traffic needs",
		Long: `Says which budget the traffic of the last minutes needs: what other budgets and caps
would do with it, how far the estimate for the present ones is from what was measured,
and what follows from that. All budgets are the workspaces' slots, which are
DB_MAX_CONNECTIONS less those of the system database.

Without FILE it asks the running server at --url (admin.capacity), with a viewer's token
in ` + tokenVariable + `, or in the file that ` + tokenVariable + secret.FileSuffix + ` names.

FILE is a dump of a server (a zip file with an entry ` + pools.DumpTraffic + `), that entry alone, or
- for standard input. It holds no workspace's id. With it other limits can be tried: each
--what-if is some of budget=SLOTS, cap=CONNECTIONS of a workspace and eviction=lru or
lru2. What it leaves out is as it was.`,
		Example: `  tenantpool capacity --url https://pool.example.com
  tenantpool capacity tenantpool.zip --what-if budget=60 --what-if budget=60,cap=5`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch set := cmd.Flags().Changed; {
			case len(args) > 1:
				return &usageError{cmd.CommandPath(), fmt.Errorf("capacity takes one file, not %d", len(args))}
			case len(args) == 1 && set("url"):
				return &usageError{cmd.CommandPath(), fmt.Errorf("--url is a server, and %s a file: leave out one of them", args[0])}
			case len(args) == 0 && set("what-if"):
				return &usageError{cmd.CommandPath(), errors.New("--what-if needs a FILE: a server has only the estimates that it makes by itself (admin.dump writes such a file)")}
			}
			return nil
		},
		RunE: o.run,
	}
	cmd.Flags().StringVar(&o.url, "url", "http://"+defaultAddr, "the `ADDRESS` of a running server, with the prefix that it is mounted under")
	cmd.Flags().Var(&o.whatIf, "what-if", "other `LIMITS` to try, such as budget=60,cap=5,eviction=lru2; repeat it for more")
	cmd.Flags().BoolVar(&o.json, "json", false, "write JSON, in the words of admin.capacity")
	cmd.Flags().SortFlags = false
	return cmd
}

// capacityView is what is printed. As JSON it is for programs to read: fields may be added,
// but keep their names and meaning.
type capacityView struct {
	web.Capacity
	// WhatIf are the estimates that were asked for.
	WhatIf []web.Estimate `json:"whatIf,omitempty"`
}

func (o *capacityOptions) run(cmd *cobra.Command, args []string) error {
	var view capacityView
	var err error
	about := "capacity"
	if len(args) == 0 {
		view.Capacity, err = o.ask(cmd)
	} else {
		about += " " + args[0]
		view, err = o.plan(cmd, args[0])
	}
	switch {
	case err != nil && errors.Is(err, context.Canceled) && cmd.Context().Err() != nil:
		return fmt.Errorf("capacity: %w", errInterrupted)
	case errors.As(err, new(*usageError)):
		return err
	case err != nil: // it may have words of the file or of a server, which may be anything
		return fmt.Errorf("%s: %s", printable(about), printable(err.Error()))
	case o.json:
		return json.NewEncoder(cmd.OutOrStdout()).Encode(view)
	}
	text := &summary{}
	view.write(text)
	_, err = cmd.OutOrStdout().Write(text.Bytes())
	return err
}

// ask asks a running server.
func (o *capacityOptions) ask(cmd *cobra.Command) (web.Capacity, error) {
	at, err := url.Parse(o.url)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.User != nil {
		return web.Capacity{}, &usageError{cmd.CommandPath(), fmt.Errorf("--url must be the address of a server, such as http://%s, and hold no password", defaultAddr)}
	}
	token, err := secret.FromEnv(tokenVariable)
	if err != nil {
		return web.Capacity{}, err
	}
	if token == "" {
		return web.Capacity{}, fmt.Errorf("%s is not set: issue a viewer's token with tenantpool token, or name a file", tokenVariable)
	}
	ctx, stop := context.WithTimeout(cmd.Context(), askTimeout)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.JoinPath("api/admin.capacity").String(), nil)
	if err != nil {
		return web.Capacity{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	// A redirect would take the token somewhere else.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		if cmd.Context().Err() == nil && ctx.Err() != nil {
			err = fmt.Errorf("it has not answered for %v", askTimeout)
		}
		return web.Capacity{}, fmt.Errorf("%s cannot be asked (--url): %w", at.Host, innermost(err))
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	if err != nil {
		return web.Capacity{}, fmt.Errorf("the answer of %s broke off: %w", at.Host, err)
	}
	return readAnswer(at.Host, answer.StatusCode, body)
}

// innermost leaves out the address and the method, which have been said.
func innermost(err error) error {
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func readAnswer(host string, status int, body []byte) (c web.Capacity, err error) {
	var refusal struct{ Error string }
	_ = json.Unmarshal(body, &refusal) // a proxy may say anything
	switch {
	case status == http.StatusOK:
		if err = json.Unmarshal(body, &c); err != nil || c.Recommendation.Verdict == "" {
			return c, fmt.Errorf("%s gave no capacity: is there a tenantpool at --url, and nothing in front of it that answers?", host)
		}
		return c, nil
	case status == http.StatusNotFound:
		return c, fmt.Errorf("%s knows no admin.capacity: check --url; an older tenantpool has none", host)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return c, fmt.Errorf("%s does not take the token of %s: %s (%d)", host, tokenVariable, refusal.Error, status)
	case refusal.Error != "":
		return c, fmt.Errorf("%s answered %d: %s", host, status, refusal.Error)
	}
	return c, fmt.Errorf("%s answered %d, which is no answer of tenantpool: check --url", host, status)
}

// plan works it out from a file. It takes about a microsecond for each request and estimate.
func (o *capacityOptions) plan(cmd *cobra.Command, file string) (capacityView, error) {
	data, err := readEntry(cmd.InOrStdin(), file, pools.DumpTraffic)
	if errors.Is(err, errNoEntry) {
		err = fmt.Errorf("%w (a dump has it while DB_PLANNER is on)", err)
	}
	if err != nil {
		return capacityView{}, err
	}
	window, about, err := planner.Read(bytes.NewReader(data))
	if err != nil {
		return capacityView{}, err
	}
	plan := planner.NewPlan(window, window.Curve(), about)
	for !plan.Step() {
		if err := cmd.Context().Err(); err != nil {
			return capacityView{}, err
		}
	}
	view := capacityView{Capacity: web.NewCapacity(plan.Capacity())}
	for _, try := range o.whatIf {
		if err := cmd.Context().Err(); err != nil {
			return capacityView{}, err
		}
		view.WhatIf = append(view.WhatIf, web.NewEstimate(plan.WhatIf(try.budget, try.cap, try.eviction)))
	}
	return view, nil
}

// whatIfs are limits to try.
type whatIfs []whatIf

// whatIf has zeros for what stays.
type whatIf struct {
	budget, cap int
	eviction    model.Eviction
}

func (w *whatIfs) String() string { return "" }
func (w *whatIfs) Type() string   { return "limits" }

func (w *whatIfs) Set(text string) error {
	var try whatIf
	eviction := ""
	flags := map[string]interface{ Set(string) error }{
		"budget": wholeNumber(&try.budget, 1, model.MostConnections), "cap": wholeNumber(&try.cap, 1, model.MostConnectionsPerDB), "eviction": choice(&eviction, string(model.LRU), string(model.LRU2)),
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		flag := flags[name]
		if flag == nil {
			return fmt.Errorf("%q is none of budget=SLOTS, cap=CONNECTIONS and eviction=lru or lru2, each at most once", part)
		}
		if err := flag.Set(value); err != nil {
			return fmt.Errorf("%s is %q: %w", name, value, err)
		}
		delete(flags, name)
	}
	try.eviction = model.Eviction(eviction)
	*w = append(*w, try)
	return nil
}
