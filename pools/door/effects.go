package door

import "strings"

// effects are what a statement may leave in the session that carries it out, beyond its
// transaction.
//
// They are read off the text alone. What the database itself runs beside it is not seen:
// the functions of triggers, views, policies, operators and casts. They belong to the
// workspace, and so do all who share its sessions.
type effects uint8

const (
	// sets: it changes settings, which the door carries from session to session.
	sets effects = 1 << iota
	// pins: it leaves what belongs to its client and cannot be carried to another session.
	pins
	// unpins: the server is to be asked whether there is such a thing: it may take one away,
	// or leave one in a way that the text does not show.
	unpins
	// listens: it is a LISTEN.
	listens
	// unknown: it may do anything, as it calls what is not known to be harmless. The session
	// is reset before another client has it.
	unknown
	// spoils: statements that the door has prepared may be gone, or something is there that
	// a reset leaves. Nobody has the session after this client.
	spoils
	// custom: it changes a setting with a dot in its name, for which there is more to ask
	// (see customs). effectsOf says unknown instead.
	custom
)

// effectsOf is what the statements of a text may leave. When in doubt they are unknown.
func effectsOf(sql string) effects {
	found := readEffects(sql)
	if found&custom != 0 {
		found = found&^custom | unknown
	}
	return found
}

func readEffects(sql string) effects {
	l := lexer{sql: sql}
	found := textEffects(&l)
	if l.broken {
		found |= unknown
	}
	if l.backslash { // what ends a string depends on the session: it may be either
		l = lexer{sql: sql, escapes: true}
		if other := textEffects(&l); !l.broken {
			found |= other
		}
	}
	return found
}

func textEffects(l *lexer) (found effects) {
	for l.at < len(l.sql) {
		found |= statementEffects(l, false)
	}
	if l.unicode {
		found |= unknown | unpins
	}
	return found
}

// statementEffects reads one statement, with the ; after it. explained: it follows an EXPLAIN.
func statementEffects(l *lexer, explained bool) effects {
	kind := l.next()
	for kind == openToken { // (SELECT ...) UNION ...
		kind = l.next()
	}
	if kind == nextToken || kind == endToken {
		return 0
	}
	if kind != wordToken {
		return unknown | finish(l)
	}
	var buffer [16]byte
	switch string(lower(l.text, buffer[:])) {
	case "select", "values", "table":
		return (&reader{l: l, into: true}).read()
	case "with":
		return (&reader{l: l, into: true, inserts: true, before: namesWord}).read()
	case "insert", "merge":
		return (&reader{l: l, before: insertWord}).read()
	case "update", "delete":
		return (&reader{l: l}).read()
	case "alter":
		return (&reader{l: l, before: createWord}).read()
	case "copy", "analyze", "analyse":
		return (&reader{l: l, before: namesWord}).read()
	case "create":
		return unpins | (&reader{l: l, creates: true, before: createWord}).read()
	case "explain":
		if explained { // no SQL, and nothing to recurse into
			return unknown | finish(l)
		}
		return explainEffects(l)
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
		"show", "fetch", "move", "lock", "truncate", "notify", "checkpoint",
		"comment", "grant", "revoke", "security", "reassign",
		"vacuum", "reindex", "cluster", "refresh":
		return finish(l)
	case "set":
		return setEffects(l)
	case "reset":
		return resetEffects(l)
	case "listen":
		return pins | listens | finish(l)
	case "unlisten", "drop", "close", "import":
		return unpins | finish(l)
	case "declare":
		return (&reader{l: l, declares: true}).read()
	case "prepare":
		return prepareEffects(l)
	case "execute", "do", "call":
		return codeEffects(l)
	case "deallocate":
		return unpins | spoils | finish(l)
	case "discard":
		return discardEffects(l)
	case "load":
		return pins | spoils | finish(l)
	}
	return unknown | unpins | finish(l)
}

// finish goes to the end of the statement, which has no effects beyond those that are known.
func finish(l *lexer) effects {
	for {
		if kind := l.next(); kind == nextToken || kind == endToken {
			return 0
		}
	}
}

// explainEffects are those of what is explained: with ANALYZE it is carried out.
func explainEffects(l *lexer) effects {
	for {
		ahead := *l
		switch kind := ahead.next(); {
		case kind == openToken && ahead.isOption():
			for kind != closeToken && kind != endToken {
				kind = ahead.next()
			}
		case kind != wordToken || !isAny(ahead.text, "analyze", "analyse", "verbose"):
			return statementEffects(l, true)
		}
		*l = ahead
	}
}

// isOption tells whether the options of EXPLAIN follow, and not a (SELECT ...). It does not
// move.
func (l *lexer) isOption() bool {
	ahead := *l
	return ahead.next() == wordToken && !isAny(ahead.text, "select", "values", "table", "with")
}

// setEffects are those of SET. What a name with a dot sets is nobody's or an extension's.
func setEffects(l *lexer) effects {
	kind, scope := l.next(), ""
	if kind == wordToken && isAny(l.text, "local", "session") {
		scope = l.text
		kind = l.next()
	}
	if kind != wordToken && kind != quotedToken { // SET session.x = y
		return sets | unknown | unpins | l.finishAfter(kind)
	}
	name := l.text
	word := kind == wordToken
	switch {
	case strings.EqualFold(scope, "local"):
		return finish(l)
	case word && scope == "" && isAny(name, "transaction", "constraints"):
		after := l.next()
		if after == wordToken || after == quotedToken {
			return finish(l)
		}
		return sets | unknown | unpins | l.finishAfter(after)
	}
	dotted, certain := !word && strings.IndexByte(name, '.') >= 0, l.certain(kind)
	after := l.next()
	for after == dotToken {
		dotted, after = true, l.next()
		certain = certain && l.certain(after)
		if after == wordToken || after == quotedToken {
			after = l.next()
		}
	}
	switch {
	case dotted && certain:
		return sets | custom | l.finishAfter(after)
	case dotted:
		return sets | unknown | l.finishAfter(after)
	case isRole(name) || isAny(name, "session"): // SET SESSION AUTHORIZATION
		return pins | unpins | l.finishAfter(after)
	}
	return sets | l.finishAfter(after)
}

// certain tells whether a part of a setting's name is what the server makes of it: short
// enough not to be cut, and the same in any encoding.
func (l *lexer) certain(kind tokenKind) bool {
	if kind != wordToken && !l.plain || len(l.text) > identifierAtMost {
		return false
	}
	for i := range len(l.text) {
		if l.text[i] >= 0x80 {
			return false
		}
	}
	return kind == wordToken || kind == quotedToken || kind == stringToken
}

// finishAfter is finish after a token that may be the statement's end.
func (l *lexer) finishAfter(kind tokenKind) effects {
	if kind == nextToken || kind == endToken {
		return 0
	}
	return finish(l)
}

// isRole tells whether the setting is one that is not carried: who the session is.
func isRole(name string) bool {
	return isAny(name, "role", "session_authorization", "authorization")
}

func resetEffects(l *lexer) effects {
	kind := l.next()
	if (kind == wordToken || kind == quotedToken) && (isRole(l.text) || isAny(l.text, "session")) {
		return unpins | finish(l)
	}
	return sets | l.finishAfter(kind)
}

// prepareEffects: PREPARE TRANSACTION leaves nothing in the session.
func prepareEffects(l *lexer) effects {
	kind := l.next()
	if kind == wordToken && isAny(l.text, "transaction") {
		ahead := *l
		if ahead.next() == stringToken {
			return finish(l)
		}
	}
	if kind == nextToken || kind == endToken {
		return pins
	}
	return pins | (&reader{l: l}).read()
}

// codeEffects are those of code that is not in the text, or is in a string of it: it may
// take away the statements that the door has prepared.
func codeEffects(l *lexer) effects {
	found := unknown | unpins
	for {
		switch l.next() {
		case nextToken, endToken:
			return found
		case stringToken:
			if mentions(l.text, "deallocate") || mentions(l.text, "discard") {
				found |= spoils
			}
		}
	}
}

// mentions tells whether the text has the word, in lower case, in any case.
func mentions(text, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		if text[i]|0x20 == word[0] && strings.EqualFold(text[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

func discardEffects(l *lexer) effects {
	kind := l.next()
	var found effects
	switch {
	case kind == wordToken && isAny(l.text, "plans", "sequences"):
	case kind == wordToken && isAny(l.text, "temp", "temporary"):
		found = unpins
	default:
		found = sets | unpins | spoils
	}
	return found | l.finishAfter(kind)
}

func isAny(word string, of ...string) bool {
	for _, one := range of {
		if strings.EqualFold(word, one) {
			return true
		}
	}
	return false
}
