package door

import (
	"slices"
	"strings"
)

// customs are the settings with a dot in their names that a client has set: those of nobody
// (app.user = ...), which applications make up, and those of extensions. A server tells
// them to those alone who know their names, so they are read off the client's statements.
// They are sorted, and never changed.
type customs []string

// A client may have so many, with names of so many bytes; what is beyond is reset with its
// transaction.
const (
	customsAtMost    = 64
	customNameAtMost = 256
)

// customsOf are those that a client begins with.
func customsOf(asked []parameter) (c customs) {
	for _, p := range asked {
		if strings.IndexByte(p.name, '.') >= 0 {
			c = append(c, strings.ToLower(p.name))
		}
	}
	slices.Sort(c)
	return slices.Compact(c)
}

// effectsOf is what a text may leave in its session, and the customs with those that it may
// set: nothing is unknown because of these. It keeps no part of the text, which may be a
// buffer's.
func (c customs) effectsOf(sql string) (effects, customs) {
	found := readEffects(sql)
	if found&custom == 0 {
		return found, c
	}
	found &^= custom
	more := slices.Clone(c)
	l := lexer{sql: sql}
	for l.customs(&more) {
	}
	if l.backslash {
		l = lexer{sql: sql, escapes: true}
		for l.customs(&more) {
		}
	}
	slices.Sort(more)
	more = slices.Compact(more)
	long := slices.ContainsFunc(more, func(name string) bool { return len(name) > customNameAtMost })
	if long || len(more) > customsAtMost {
		return found | unknown, c
	}
	return found, more
}

// customs adds what comes next if it is a name with a dot, after SET or in set_config: also
// one that the statement does not set. It returns false at the end.
func (l *lexer) customs(names *customs) bool {
	kind := l.next()
	if kind != wordToken && kind != quotedToken {
		return kind != endToken
	}
	ahead := *l
	var name string
	switch {
	case isAny(l.text, "set"):
		name = ahead.settingName()
	case isAny(l.text, "set_config"):
		open := ahead.next() == openToken
		if open && ahead.next() == stringToken && ahead.plain {
			name = ahead.text
		}
	}
	if strings.IndexByte(name, '.') >= 0 {
		*names = append(*names, strings.Clone(strings.ToLower(name)))
	}
	return true
}

// settingName is the name that follows a SET; it need not be whole if it is too long.
func (l *lexer) settingName() (name string) {
	kind := l.next()
	if kind == wordToken && isAny(l.text, "session", "local") {
		if ahead := *l; ahead.next() != dotToken {
			kind = l.next()
		}
	}
	for kind == wordToken || kind == quotedToken && l.plain {
		name += l.text
		if len(name) > customNameAtMost || l.next() != dotToken {
			return name
		}
		name += "."
		kind = l.next()
	}
	return ""
}

// askSettings asks a server for a session's settings, those among them.
func (c customs) askSettings() string {
	if len(c) == 0 {
		return askSettings
	}
	var b strings.Builder
	b.WriteString(askSettings)
	b.WriteString(` UNION ALL SELECT pg_catalog.encode(pg_catalog.convert_to(name, pg_catalog.getdatabaseencoding()), 'hex'), ` +
		`pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(name, true), pg_catalog.getdatabaseencoding()), 'hex') ` +
		`FROM pg_catalog.unnest(ARRAY[`)
	for i, name := range c {
		if i > 0 {
			b.WriteByte(',')
		}
		writeLiteral(&b, name)
	}
	b.WriteString(`]::pg_catalog.text[]) name WHERE pg_catalog.current_setting(name, true) IS NOT NULL`)
	return b.String()
}
