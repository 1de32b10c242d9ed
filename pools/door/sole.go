package door

import (
	"strings"
	"unicode/utf8"
)

// The commands that the door carries out itself; as the server names them, too.
const (
	discardAll    = "DISCARD ALL"
	deallocateAll = "DEALLOCATE ALL"
	deallocate    = "DEALLOCATE"
)

// sole tells what a text is that is exactly one of those commands, with the name of a
// statement that is to be deallocated; "" if it is not. The name is no part of the text.
func sole(sql string) (command, name string) {
	l := lexer{sql: sql}
	kind := l.next()
	for kind == nextToken {
		kind = l.next()
	}
	if kind != wordToken {
		return "", ""
	}
	switch {
	case isAny(l.text, "discard"):
		if l.next() == wordToken && isAny(l.text, "all") {
			command = discardAll
		}
	case isAny(l.text, "deallocate"):
		command, name = l.deallocated()
	}
	if kind = l.next(); kind == endToken && !l.broken {
		return command, name
	}
	for kind == nextToken {
		kind = l.next()
	}
	if kind != endToken || l.broken {
		return "", ""
	}
	return command, name
}

// deallocated is what a DEALLOCATE names.
func (l *lexer) deallocated() (command, name string) {
	kind := l.next()
	if kind == wordToken && isAny(l.text, "prepare") {
		ahead := *l
		if after := ahead.next(); after == wordToken || after == quotedToken {
			*l, kind = ahead, after
		}
	}
	switch {
	case kind == wordToken && isAny(l.text, "all"):
		return deallocateAll, ""
	case kind == wordToken:
		return deallocate, identifier(string(lower(l.text, make([]byte, len(l.text)))))
	case kind == quotedToken && l.plain && l.text != "":
		return deallocate, identifier(strings.Clone(l.text))
	}
	return "", ""
}

// identifierAtMost is NAMEDATALEN-1: the server cuts longer ones, between characters.
const identifierAtMost = 63

func identifier(name string) string {
	if len(name) <= identifierAtMost {
		return name
	}
	end := identifierAtMost
	for end > identifierAtMost-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}
