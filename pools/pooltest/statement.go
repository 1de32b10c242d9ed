package pooltest

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgtype"
)

// token is what matters of SQL to find the ends and the parameters of statements.
type token uint8

const (
	word      token = iota // anything else, a byte at a time
	space                  // a comment, too
	quoted                 // in which nothing else counts
	parameter              // $1
	semicolon
)

// next returns the token that sql begins with, and its length. before is the byte before
// it, or 0.
func next(sql string, before byte) (token, int) {
	inWord := isLetter(before) || isDigit(before) || before == '$'
	switch c := sql[0]; {
	case c == ';':
		return semicolon, 1
	case c == ' ' || '\t' <= c && c <= '\r':
		return space, 1
	case strings.HasPrefix(sql, "--"):
		return space, upTo(sql, 2, "\n")
	case strings.HasPrefix(sql, "/*"):
		return space, comment(sql)
	case c == '"':
		return quoted, upTo(sql, 1, `"`)
	case c == '\'':
		return quoted, upTo(sql, 1, `'`)
	case (c == 'e' || c == 'E') && !inWord && strings.HasPrefix(sql[1:], `'`):
		return quoted, escaped(sql)
	case c == '$' && !inWord && len(sql) > 1 && isDigit(sql[1]):
		n := 1
		for n < len(sql) && isDigit(sql[n]) {
			n++
		}
		return parameter, n
	case c == '$' && !inWord:
		n := 1
		for n < len(sql) && (isLetter(sql[n]) || isDigit(sql[n])) {
			n++
		}
		if n < len(sql) && sql[n] == '$' { // $tag$
			return quoted, upTo(sql, n+1, sql[:n+1])
		}
	}
	return word, 1
}

// upTo is the length of what ends with end, from which on it is looked for.
func upTo(sql string, from int, end string) int {
	if n := strings.Index(sql[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(sql)
}

// comment is the length of a comment, which may have others in it.
func comment(sql string) int {
	for n, depth := 0, 0; n < len(sql); {
		switch {
		case strings.HasPrefix(sql[n:], "/*"):
			n, depth = n+2, depth+1
		case strings.HasPrefix(sql[n:], "*/"):
			if n, depth = n+2, depth-1; depth == 0 {
				return n
			}
		default:
			n++
		}
	}
	return len(sql)
}

// escaped is the length of a string in which a backslash escapes.
func escaped(sql string) int {
	for n := 2; n < len(sql); n++ {
		switch sql[n] {
		case '\\':
			n++
		case '\'':
			return n + 1
		}
	}
	return len(sql)
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return c == '_' || c >= 0x80 || 'a' <= c|0x20 && c|0x20 <= 'z' }

// tokens calls f for each.
func tokens(sql string, f func(t token, from, to int)) {
	before := byte(0)
	for at := 0; at < len(sql); {
		t, n := next(sql[at:], before)
		f(t, at, at+n)
		at += n
		before = sql[at-1]
	}
}

// split returns the statements of sql, without those that are empty.
func split(sql string) []string {
	var all []string
	begin, empty := 0, true
	add := func(end int) {
		if !empty {
			all = append(all, strings.TrimSpace(sql[begin:end]))
		}
		begin, empty = end+1, true
	}
	tokens(sql, func(t token, from, _ int) {
		if t == semicolon {
			add(from)
		}
		empty = empty && (t == semicolon || t == space)
	})
	add(len(sql))
	return all
}

// parameters returns the types of the statement's parameters. They are unknown (0), so
// that pgx chooses by the argument; but it needs to know of JSON, which can be anything.
func parameters(sql string) []uint32 {
	var types []uint32
	tokens(sql, func(t token, from, to int) {
		if t != parameter {
			return
		}
		n, err := strconv.Atoi(sql[from+1 : to])
		if err != nil || n < 1 || n > math.MaxUint16 {
			return
		}
		for len(types) < n {
			types = append(types, 0)
		}
		if cast, is := strings.CutPrefix(strings.TrimSpace(sql[to:]), "::"); is {
			switch strings.ToLower(firstWord(strings.TrimSpace(cast))) {
			case "json":
				types[n-1] = pgtype.JSONOID
			case "jsonb":
				types[n-1] = pgtype.JSONBOID
			}
		}
	})
	return types
}

func firstWord(s string) string {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return s[:n]
}

// asText returns arguments as Query has them.
func asText(values [][]byte, formats []int16) ([]any, error) {
	args := make([]any, len(values))
	for i, value := range values {
		if formatOf(formats, i) != pgtype.TextFormatCode {
			// pgx sends what has no type as text.
			return nil, refusal(pgerrcode.FeatureNotSupported, fmt.Sprintf("pooltest: argument %d is binary, which the fake does not know: let pgx choose the format", i+1))
		}
		if value != nil {
			args[i] = string(value)
		}
	}
	return args, nil
}

// formatOf is the format of a value, of those that a message has for all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return pgtype.TextFormatCode
}

// command is what a statement does, as far as its first words tell: in upper case.
type command struct{ first, second string }

func commandOf(sql string) command {
	var words []string
	for at := 0; at < len(sql) && len(words) < 3; {
		if t, n := next(sql[at:], 0); t == space || sql[at] == '(' && len(words) == 0 {
			at += n
			continue
		}
		w := firstWord(sql[at:])
		if w == "" {
			break
		}
		words = append(words, strings.ToUpper(w))
		at += len(w)
	}
	words = append(words, "", "", "")
	if words[1] == "TRANSACTION" || words[1] == "WORK" {
		words[1] = words[2]
	}
	return command{words[0], words[1]}
}

// ends tells whether it is one of those that an aborted transaction takes.
func (c command) ends() bool {
	switch c.first {
	case "COMMIT", "END", "ROLLBACK", "ABORT":
		return true
	}
	return false
}

// after is the state of the transaction after it.
func (c command) after(tx byte) byte {
	switch c.first {
	case "BEGIN", "START":
		return 'T'
	case "COMMIT", "END", "ABORT":
		return 'I'
	case "ROLLBACK":
		if c.second == "TO" {
			return 'T'
		}
		return 'I'
	}
	return tx
}

// tag is what the server says when it is done.
func (c command) tag(rows int, tx byte) string {
	switch c.first {
	case "SELECT", "WITH", "VALUES", "TABLE":
		return fmt.Sprintf("SELECT %d", rows)
	case "INSERT":
		return fmt.Sprintf("INSERT 0 %d", max(rows, 1))
	case "UPDATE", "DELETE", "MERGE":
		return fmt.Sprintf("%s %d", c.first, max(rows, 1))
	case "CREATE", "DROP", "ALTER":
		return c.first + " " + c.second
	case "BEGIN", "START":
		return "BEGIN"
	case "COMMIT", "END":
		if tx == 'E' {
			return "ROLLBACK"
		}
		return "COMMIT"
	case "ABORT":
		return "ROLLBACK"
	}
	return c.first
}
