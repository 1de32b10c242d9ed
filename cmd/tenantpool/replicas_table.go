package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/replicas"
	"github.com/tenantpool/tenantpool/web"
)

// sharedView is a group as a person sees it.
type sharedView struct {
	model.SharedBudget
	role      replicas.Role
	strangers []replicas.Stranger
}

func lookAt(ctx context.Context, store *replicas.Store) (s sharedView, err error) {
	if s.SharedBudget, err = store.Show(ctx, ""); err != nil {
		return s, err
	}
	if s.role, err = store.Role(ctx); err != nil {
		return s, err
	}
	if s.Strangers > 0 {
		s.strangers, err = store.Strangers(ctx)
	}
	return s, err
}

const (
	replicaHeader = "%-*s  share  in use  idle  waiting      age  state"
	replicaFormat = "%-*s %6d %7d %5d %8d %8s  %s"
)

// write prints the table, the sums, and what does not agree.
func (s sharedView) write(text *summary) {
	text.line("group %q", s.Group)
	text.line("")
	width := len("replica")
	for _, r := range s.Replicas {
		width = max(width, len([]rune(printable(r.Label))))
	}
	text.line(replicaHeader, width, "replica")
	for _, r := range s.Replicas {
		text.line(replicaFormat, width, printable(r.Label), r.Share, r.InUse, r.Idle(), r.Waiting, age(r.Age), state(r))
	}
	text.line("")
	text.line("budget %d = control sessions %d + shares %d + strangers %d + free %d (of them in reserve for a newcomer: %d)",
		s.Budget, len(s.Replicas), s.shares(), s.Strangers, s.Free, max(0, min(s.Free, s.Reserve)))
	text.line("role %s: CONNECTION LIMIT %s; the server has %d for all who are no superusers", printable(s.role.Name), s.limit(), s.role.Usable)
	for _, w := range s.disagreements() {
		text.line("WARNING: %s", printable(w))
	}
}

func (s sharedView) shares() (sum int) {
	for _, r := range s.Replicas {
		sum += r.Share
	}
	return sum
}

func (s sharedView) limit() string {
	switch {
	case s.role.Superuser:
		return "none that holds"
	case s.role.Limit < 0:
		return "none"
	}
	return fmt.Sprint(s.role.Limit)
}

// state tells what becomes of the replica, and what it is asked for.
func state(r model.Replica) string {
	if asked := r.Share - r.Granted; asked > 0 && r.State != model.ReplicaGone {
		return fmt.Sprintf("%s, is asked to give back %d", r.State, asked)
	}
	return string(r.State)
}

// age has the two figures that matter.
func age(d time.Duration) string {
	switch {
	case d < 0: // the server's clock went back
		return "0s"
	case d < time.Hour:
		return d.Truncate(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// disagreements are what an operator should do something about.
func (s sharedView) disagreements() (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	found = append(found, s.ofRole(s.Budget)...)
	switch limit := s.role.Limit; {
	case s.role.Superuser:
	case limit < 0:
		add("the role %s has no CONNECTION LIMIT, so nothing holds its connections within the budget when a machine stops at the wrong moment: tenantpool fence sets it", s.role.Name)
	case limit < s.Budget:
		add("the role %s may have %d connections and the budget is %d: the last of them are refused (tenantpool fence sets it)", s.role.Name, limit, s.Budget)
	case limit > s.Budget:
		add("the role %s may have %d connections, more than the budget of %d: tenantpool fence sets it", s.role.Name, limit, s.Budget)
	}
	if n := s.Strangers; n > 0 {
		add("%d connections of the role %s are no replica's and take from the budget%s", n, s.role.Name, s.who())
	}
	switch {
	case s.Free < 0:
		add("%d more are given than the budget has: the replicas give them back as they come free", -s.Free)
	case s.Free < s.Reserve:
		add("%d of the reserve of %d are in use: a newcomer waits until it is filled again", s.Reserve-s.Free, s.Reserve)
	}
	return found
}

// ofRole is what does not agree with a budget, whatever the role's limit is.
func (s sharedView) ofRole(budget int) (found []string) {
	if s.role.Superuser {
		found = append(found, fmt.Sprintf("the role %s is a superuser, for whom no CONNECTION LIMIT holds: let the replicas log in as another one", s.role.Name))
	}
	switch {
	case s.role.Usable < budget:
		found = append(found, fmt.Sprintf("the server has %d connections for all who are no superusers, less than the budget of %d: raise max_connections or lower the budget", s.role.Usable, budget))
	case s.role.Usable == budget:
		found = append(found, "the server has no connection more than the budget, and logins under way need some: raise max_connections by a few")
	}
	if len(s.role.Others) > 0 {
		found = append(found, fmt.Sprintf("other roles have replicas in the group, too (%s), and no CONNECTION LIMIT holds for several roles together", strings.Join(s.role.Others, ", ")))
	}
	return found
}

// who names the strangers.
func (s sharedView) who() string {
	var names []string
	for _, one := range s.strangers {
		names = append(names, fmt.Sprintf("%d of %q", one.Connections, one.ApplicationName))
	}
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// sharedJSON is for programs to read: fields may be added, but keep their names and meaning.
type sharedJSON struct {
	web.SharedBudget
	Role     string   `json:"role"`
	Usable   int      `json:"serverUsable"`
	Warnings []string `json:"warnings"`
}

func (s sharedView) writeJSON(out io.Writer) error {
	line := sharedJSON{
		SharedBudget: web.NewSharedBudget(s.SharedBudget, time.Now()),
		Role:         s.role.Name, Usable: s.role.Usable, Warnings: append([]string{}, s.disagreements()...),
	}
	return json.NewEncoder(out).Encode(line)
}
