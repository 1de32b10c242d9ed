package door

import "strings"

// reader reads a statement for the functions that it calls: names before a parenthesis that
// are not something else there.
type reader struct {
	l *lexer
	// into: INTO makes a table; inserts: unless it is that of INSERT or MERGE. creates: it is
	// a CREATE. declares: it is a DECLARE.
	into, inserts, creates, declares bool

	// name is the last one, quoted or not, and before is what stood before it. qualifier is
	// that of its schema.
	name      string
	quoted    bool
	qualifier qualifier
	before    significant
	// last is the token before this one.
	last tokenKind
	// depth is that of parentheses.
	depth int
	// queries: there was an AS, after which a CREATE may run a query.
	queries bool
	// notAliases: a name between ) and ( may be that of a function: DISTINCT ON (x) f(y).
	// Elsewhere it is the alias of a table.
	notAliases bool

	found effects
}

type qualifier uint8

const (
	unqualified qualifier = iota
	ofCatalog
	ofOther
)

// significant is what a word says about the one after it.
type significant uint8

const (
	ordinaryWord significant = iota
	// namesWord: what follows is a name with a list of columns, and not a call.
	namesWord
	createWord
	insertWord
	intoWord
	// closed is no word, but a ).
	closed
)

// read goes to the end of the statement.
func (r *reader) read() effects {
	next := r.before // what stands before the next name
	for {
		kind := r.l.next()
		switch kind {
		case nextToken, endToken:
			return r.found
		case wordToken, quotedToken:
			next = r.word(kind, next)
		case openToken:
			if r.last == wordToken || r.last == quotedToken {
				r.call()
			}
			r.depth++
			next = ordinaryWord
		case closeToken:
			r.depth--
			next = closed
		case dotToken:
		default:
			next = ordinaryWord
		}
		r.last = kind
	}
}

// word is a name or a keyword. It returns what stands before the next one then.
func (r *reader) word(kind tokenKind, before significant) significant {
	text, part := r.l.text, r.last == dotToken && r.name != ""
	if part {
		if r.qualifier == unqualified && is(r.name, r.quoted, "pg_catalog") {
			r.qualifier = ofCatalog
		} else {
			r.qualifier = ofOther
		}
	} else {
		r.qualifier, r.before = unqualified, before
	}
	if len(text) >= len("pg_temp") && r.creates && strings.EqualFold(text[:len("pg_temp")], "pg_temp") {
		r.found |= pins
	}
	r.name, r.quoted = text, kind == quotedToken
	if part || kind == quotedToken {
		return ordinaryWord
	}
	return r.keyword(text, before)
}

// keyword takes note of the words that matter inside a statement.
func (r *reader) keyword(text string, before significant) significant {
	var buffer [16]byte
	switch string(lower(text, buffer[:])) {
	case "as":
		r.queries = true
		return namesWord
	case "with", "recursive", "references":
		return namesWord
	case "insert", "merge":
		return insertWord
	case "into":
		if r.into && (!r.inserts || before != insertWord) {
			r.found |= unpins
			return intoWord
		}
		return namesWord
	case "create", "replace":
		return createWord
	case "local", "global":
		if before == createWord || before == intoWord {
			return before
		}
	case "temp", "temporary":
		if r.creates && before == createWord || before == intoWord {
			r.found |= pins
		}
	case "execute":
		if r.creates && r.queries {
			r.found |= unknown | unpins
		}
	case "extension":
		if before == createWord { // its script may do anything
			r.found |= unknown | unpins
		}
	case "hold":
		if r.declares && before == namesWord { // WITH HOLD, not WITHOUT
			r.found |= pins
		}
	case "distinct", "operator":
		r.notAliases = true
	}
	return ordinaryWord
}

// call is a ( after a name.
func (r *reader) call() {
	if r.qualifier == ofOther {
		if r.before != namesWord && !r.inHead() {
			r.found |= unknown
		}
		return
	}
	var buffer [64]byte
	what := functions[string(lower(r.name, buffer[:]))]
	if r.quoted {
		what = functions[r.name]
	}
	if what == construct && !r.quoted && r.qualifier == unqualified || what == harmless {
		return
	}
	if what > specials {
		r.special(what)
		return
	}
	switch {
	case r.before == namesWord || r.inHead():
	case r.before == closed && (!r.notAliases || what == afterParenthesis) && !r.quoted:
	default:
		r.found |= unknown
	}
}

// inHead tells whether this is what a CREATE makes, or where: its names have lists of
// columns or of parameters.
func (r *reader) inHead() bool { return r.creates && !r.queries && r.depth == 0 }

// special is a call of a function that is known to leave something.
func (r *reader) special(what function) {
	switch what {
	case locks:
		r.found |= pins
	case unlocks:
		r.found |= unpins
	case replicates:
		r.found |= unknown | spoils
	case setsConfig:
		r.found |= configEffects(*r.l)
	}
}

// configAtMost is how far the arguments of set_config are looked at.
const configAtMost = 256

// configEffects are those of set_config, whose arguments follow.
func configEffects(l lexer) effects {
	name, plain, certain := "", false, false
	argument, depth, words, local := 0, 0, 0, false
	for range configAtMost {
		kind := l.next()
		switch {
		case kind == endToken || kind == nextToken:
			return sets | unknown | unpins
		case kind == openToken:
			depth++
		case kind == closeToken && depth > 0:
			depth--
		case kind == closeToken:
			switch {
			case argument == 2 && words == 1 && local:
				return 0
			case !plain:
				return sets | unknown | unpins
			case isRole(name):
				return pins | unpins
			case strings.IndexByte(name, '.') < 0:
			case certain:
				return sets | custom
			default:
				return sets | unknown
			}
			return sets
		case kind == commaToken && depth == 0:
			argument++
			words, local = 0, false
			continue
		case argument == 0 && words == 0 && kind == stringToken && l.plain:
			name, plain, certain = l.text, true, l.certain(kind)
		case argument == 0:
			plain = false
		}
		words++
		local = kind == wordToken && strings.EqualFold(l.text, "true")
	}
	return sets | unknown | unpins
}

// is tells whether a name is the one in lower case.
func is(name string, quoted bool, lower string) bool {
	return name == lower || !quoted && strings.EqualFold(name, lower)
}
