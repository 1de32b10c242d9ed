package web

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tenantpool/tenantpool/model"
)

// maxStatsWorkspaces is how many workspaces one answer of admin.connectionStats has
// at most: ten thousand would be 2 MB, asked for each second by each dashboard.
const maxStatsWorkspaces = 1000

// maxStatsSearch is longer than any id, in bytes.
const maxStatsSearch = 256

// statsPage is which of the active workspaces an answer has: those whose id contains
// search, in an order, from an offset on.
type statsPage struct {
	search        string
	by            func(a, b model.WorkspaceStats) int
	descending    bool
	offset, limit int
}

// firstPage is the answer to a request without parameters.
var firstPage = statsPage{by: byID, limit: maxStatsWorkspaces}

func by[T cmp.Ordered](of func(model.WorkspaceStats) T) func(a, b model.WorkspaceStats) int {
	return func(a, b model.WorkspaceStats) int { return cmp.Compare(of(a), of(b)) }
}

// statsOrders are what the parameter sort names; with a minus before it, backwards.
var statsOrders = map[string]func(a, b model.WorkspaceStats) int{
	"id":        byID,
	"open":      by(func(w model.WorkspaceStats) int { return w.Open() }),
	"inUse":     by(func(w model.WorkspaceStats) int { return w.InUse }),
	"idle":      by(func(w model.WorkspaceStats) int { return w.Idle }),
	"waiting":   by(func(w model.WorkspaceStats) int { return w.Waiting }),
	"lastUsed":  by(func(w model.WorkspaceStats) int64 { return int64(w.LastUsed) }),
	"dials":     by(func(w model.WorkspaceStats) uint64 { return w.Dials }),
	"evictions": by(func(w model.WorkspaceStats) uint64 { return w.Evictions }),
	"paused":    by(func(w model.WorkspaceStats) float64 { return one(w.Paused) }),
}

// byID compares digits as numbers, so that ws_10 comes after ws_9, and letters without
// their case; ids that are then alike byte by byte.
func byID(a, b model.WorkspaceStats) int {
	return cmp.Or(natural(string(a.ID), string(b.ID)), cmp.Compare(a.ID, b.ID))
}

func natural(a, b string) int {
	for a != "" && b != "" {
		if digit(a[0]) && digit(b[0]) {
			var x, y string
			x, a = number(a)
			y, b = number(b)
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if c := cmp.Compare(lower(a[0]), lower(b[0])); c != 0 {
			return c
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// number cuts the digits at the beginning off, and leaves out their zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}

// readStatsPage reads the parameters: search, sort, limit and offset.
func readStatsPage(query url.Values) (statsPage, error) {
	p := firstPage
	for name, values := range query {
		value := values[0]
		if len(values) > 1 {
			return p, badRequest("the parameter %q is given %d times", shortened(name), len(values))
		}
		switch name {
		case "search":
			if len(value) > maxStatsSearch {
				return p, badRequest("search has %d bytes: it may have %d", len(value), maxStatsSearch)
			}
			if !utf8.ValidString(value) {
				return p, badRequest("search is no text in UTF-8")
			}
			p.search = strings.ToLower(value)
		case "sort":
			order, back := strings.CutPrefix(value, "-")
			if p.by, p.descending = statsOrders[order], back; p.by == nil {
				return p, badRequest("sort is %q: it must be one of %s, or one of these with a - before it", shortened(value), strings.Join(slices.Sorted(maps.Keys(statsOrders)), ", "))
			}
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxStatsWorkspaces {
				return p, badRequest("limit is %q: it must be from 0 to %d", shortened(value), maxStatsWorkspaces)
			}
			p.limit = n
		case "offset":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return p, badRequest("offset is %q: it must be a number, 0 or more", shortened(value))
			}
			p.offset = n
		default:
			return p, badRequest("there is no parameter %q here: search, sort, limit and offset are", shortened(name))
		}
	}
	return p, nil
}

// of returns the page, and how many workspaces there are on all pages.
func (p statsPage) of(active []model.WorkspaceStats) (page []model.WorkspaceStats, found int) {
	all := make([]model.WorkspaceStats, 0, len(active))
	for _, w := range active {
		if p.search == "" || strings.Contains(strings.ToLower(string(w.ID)), p.search) {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b model.WorkspaceStats) int {
		c := p.by(a, b)
		if p.descending {
			c = -c
		}
		return cmp.Or(c, byID(a, b))
	})
	from := min(p.offset, len(all))
	return all[from : from+min(p.limit, len(all)-from)], len(all)
}
