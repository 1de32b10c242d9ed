package door

import (
	"encoding/hex"
	"slices"
	"strings"
)

// settings are those of a session that its client has changed: sorted by name, each once,
// and never changed. nil is none. Names and values are in the database's encoding.
type settings struct{ list []parameter }

// askSettings asks a server for them: names and values, in hexadecimal digits, as the
// session's client_encoding may lack a character of the database's. Left out are those of a
// transaction, which end with it. Not in pg_settings are the settings of extensions that
// are not loaded, and of nobody (app.user = ...): effectsOf says unknown of these.
const askSettings = `SELECT pg_catalog.encode(pg_catalog.convert_to(name, pg_catalog.getdatabaseencoding()), 'hex'), ` +
	`pg_catalog.encode(pg_catalog.convert_to(setting, pg_catalog.getdatabaseencoding()), 'hex') ` +
	`FROM pg_catalog.pg_settings WHERE source = 'session' AND context IN ('user', 'superuser') ` +
	`AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')`

// settingsOf is the answer to askSettings. introduces: the application's name is the
// pool's, and no client's.
func settingsOf(rows [][]string, introduces bool) *settings {
	var list []parameter
	for _, row := range rows {
		if len(row) < 2 {
			continue
		}
		name, err := hex.DecodeString(row[0])
		value, wrong := hex.DecodeString(row[1])
		if err == nil && wrong == nil && (!introduces || string(name) != applicationName) {
			list = append(list, parameter{string(name), string(value)})
		}
	}
	return newSettings(list)
}

// settingsAsked are those that a client asks for at its start: of each name, the last.
func settingsAsked(asked []parameter) *settings { return newSettings(asked) }

// newSettings keeps the last of each name, which the server takes in any case.
func newSettings(list []parameter) *settings {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Reverse(list)
	slices.SortStableFunc(list, byName)
	list = slices.CompactFunc(list, func(a, b parameter) bool { return byName(a, b) == 0 })
	return &settings{list}
}

func byName(a, b parameter) int {
	return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name))
}

func (s *settings) all() []parameter {
	if s == nil {
		return nil
	}
	return s.list
}

// replay is the SQL that brings a session from the settings that it has to these, as one
// simple query, which does it as a whole or not at all; "" if they are the same.
//
// The settings that it has apply to the query itself: a statement_timeout is taken back by a
// statement of its own first, and one that comes is set last; and the transaction is told
// not to be a deferrable one, which would wait for others.
func (s *settings) replay(from *settings) string {
	if s == from {
		return ""
	}
	old, timed := from.value(statementTimeout)
	timeout, times := s.value(statementTimeout)
	changes := differences(from.all(), s.all())
	if len(changes) == 0 && timed == times && old == timeout {
		return ""
	}
	if times {
		changes = append(changes, change{parameter{statementTimeout, timeout}, false})
	}
	var b strings.Builder
	_, deferrable := from.value("default_transaction_deferrable")
	if deferrable {
		b.WriteString("BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE;")
	}
	if timed {
		b.WriteString("RESET statement_timeout;")
	}
	for i, c := range changes {
		if i%columnsAtMost == 0 {
			b.WriteString("SELECT ")
		}
		c.write(&b)
		if (i+1)%columnsAtMost == 0 || i+1 == len(changes) {
			b.WriteString(";")
		} else {
			b.WriteString(",")
		}
	}
	if deferrable {
		b.WriteString("COMMIT")
	}
	return b.String()
}

const (
	applicationName  = "application_name"
	statementTimeout = "statement_timeout"
	// columnsAtMost is how many a SELECT may have, about: MaxTupleAttributeNumber is 1664.
	columnsAtMost = 1000
)

func (s *settings) value(name string) (value string, ok bool) {
	for _, p := range s.all() {
		if strings.EqualFold(p.name, name) {
			return p.value, true
		}
	}
	return "", false
}

// change is a setting's new value; reset: the one that the session began with.
type change struct {
	parameter
	reset bool
}

// differences are what is to be changed, but for statement_timeout.
func differences(from, to []parameter) (changes []change) {
	for len(from) > 0 || len(to) > 0 {
		order := 0
		switch {
		case len(from) == 0:
			order = 1
		case len(to) == 0:
			order = -1
		default:
			order = byName(from[0], to[0])
		}
		var c change
		if order >= 0 {
			c, to = change{to[0], false}, to[1:]
		}
		if order <= 0 {
			if order < 0 {
				c = change{from[0], true}
			}
			if order == 0 && from[0].value == c.value {
				c.name = ""
			}
			from = from[1:]
		}
		if c.name != "" && !strings.EqualFold(c.name, statementTimeout) {
			changes = append(changes, c)
		}
	}
	return changes
}

// write adds the call that makes the change. set_config with NULL is RESET; SET would read
// the value of a list, such as search_path, as one name.
func (c change) write(b *strings.Builder) {
	b.WriteString("pg_catalog.set_config(")
	writeLiteral(b, c.name)
	b.WriteString(",")
	if c.reset {
		b.WriteString("NULL")
	} else {
		writeLiteral(b, c.value)
	}
	b.WriteString(",false)")
}

// writeLiteral quotes a text so that it is the same whatever standard_conforming_strings
// and client_encoding are.
func writeLiteral(b *strings.Builder, text string) {
	ascii := true
	for i := range len(text) {
		ascii = ascii && text[i] < 0x80 && text[i] > 0
	}
	if !ascii {
		b.WriteString("pg_catalog.convert_from(pg_catalog.decode('")
		b.WriteString(hex.EncodeToString([]byte(text)))
		b.WriteString("','hex'),pg_catalog.getdatabaseencoding())")
		return
	}
	if strings.IndexByte(text, '\\') >= 0 {
		b.WriteString(" E")
		text = strings.ReplaceAll(text, `\`, `\\`)
	}
	b.WriteString("'")
	b.WriteString(strings.ReplaceAll(text, "'", "''"))
	b.WriteString("'")
}
