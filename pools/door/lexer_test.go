package door

import (
	"slices"
	"strings"
	"testing"
)

// plainTokens is what the lexer is to find, character by character, without a thought of
// speed. ok is false if something does not end.
func plainTokens(sql string, escapes bool) (tokens []string, ok bool) {
	letter := func(c byte) bool {
		return c >= 0x80 || strings.Contains("abcdefghijklmnopqrstuvwxyz_", strings.ToLower(string(c)))
	}
	numeral := func(c byte) bool { return strings.Contains("0123456789", string(c)) }
	for sql != "" {
		switch c := sql[0]; {
		case strings.HasPrefix(sql, "--"):
			for sql != "" && sql[0] != '\n' && sql[0] != '\r' {
				sql = sql[1:]
			}
		case strings.HasPrefix(sql, "/*"):
			depth := 0
			for {
				if strings.HasPrefix(sql, "/*") {
					depth, sql = depth+1, sql[2:]
				} else if strings.HasPrefix(sql, "*/") {
					depth, sql = depth-1, sql[2:]
				} else if sql == "" {
					return nil, false
				} else {
					sql = sql[1:]
				}
				if depth == 0 {
					break
				}
			}
		case letter(c):
			n := 0
			for n < len(sql) && (letter(sql[n]) || numeral(sql[n]) || sql[n] == '$') {
				n++
			}
			word := sql[:n]
			sql = sql[n:]
			prefix := strings.ToLower(word)
			if prefix == "u" && (strings.HasPrefix(sql, "&'") || strings.HasPrefix(sql, "&\"")) {
				sql = sql[1:]
			} else if sql == "" || sql[0] != '\'' || !slices.Contains([]string{"e", "n", "b", "x"}, prefix) {
				tokens = append(tokens, "word "+word)
				continue
			}
			quote := string(sql[0])
			text, rest, ended := plainQuoted(sql[1:], quote, prefix == "e" || prefix == "n" && escapes)
			if !ended {
				return nil, false
			}
			tokens, sql = append(tokens, quote+" "+text), rest
		case c == '\'' || c == '"':
			text, rest, ended := plainQuoted(sql[1:], string(c), c == '\'' && escapes)
			if !ended {
				return nil, false
			}
			tokens, sql = append(tokens, string(c)+" "+text), rest
		case c == '$':
			n := 1
			for n < len(sql) && (letter(sql[n]) || n > 1 && numeral(sql[n])) {
				n++
			}
			if n == len(sql) || sql[n] != '$' {
				tokens, sql = append(tokens, "other"), sql[1:]
				continue
			}
			text, rest, ended := strings.Cut(sql[n+1:], sql[:n+1])
			if !ended {
				return nil, false
			}
			tokens, sql = append(tokens, "' "+text), rest
		case numeral(c):
			for sql != "" && numeral(sql[0]) {
				sql = sql[1:]
			}
			tokens = append(tokens, "other")
		case strings.Contains(" \t\n\r\f\v", string(c)):
			sql = sql[1:]
		case strings.Contains("();.,", string(c)):
			tokens, sql = append(tokens, string(c)), sql[1:]
		default:
			tokens, sql = append(tokens, "other"), sql[1:]
		}
	}
	return tokens, true
}

// plainQuoted is what stands before the closing quote.
func plainQuoted(sql, quote string, escapes bool) (text, rest string, ended bool) {
	begin := sql
	for sql != "" {
		switch {
		case escapes && sql[0] == '\\' && len(sql) > 1:
			sql = sql[2:]
		case strings.HasPrefix(sql, quote+quote):
			sql = sql[2:]
		case strings.HasPrefix(sql, quote):
			text, rest = begin[:len(begin)-len(sql)], sql[1:]
			if !escapes {
				return text, rest, true
			}
			ahead, line := rest, false
			for {
				trimmed := strings.TrimLeft(ahead, " \t\n\r\f\v")
				line = line || strings.ContainsAny(ahead[:len(ahead)-len(trimmed)], "\r\n")
				if !strings.HasPrefix(trimmed, "--") || !strings.ContainsAny(trimmed, "\r\n") {
					ahead = trimmed
					break
				}
				ahead = trimmed[strings.IndexAny(trimmed, "\r\n"):]
			}
			if !line || !strings.HasPrefix(ahead, quote) {
				return text, rest, true
			}
			sql = ahead[1:]
		default:
			sql = sql[1:]
		}
	}
	return "", "", false
}

func lexed(sql string, escapes bool) (tokens []string, ok bool) {
	l := lexer{sql: sql, escapes: escapes}
	for {
		switch l.next() {
		case endToken:
			return tokens, !l.broken
		case wordToken:
			tokens = append(tokens, "word "+l.text)
		case quotedToken:
			tokens = append(tokens, "\" "+l.text)
		case stringToken:
			tokens = append(tokens, "' "+l.text)
		case nextToken:
			tokens = append(tokens, ";")
		case openToken:
			tokens = append(tokens, "(")
		case closeToken:
			tokens = append(tokens, ")")
		case dotToken:
			tokens = append(tokens, ".")
		case commaToken:
			tokens = append(tokens, ",")
		default:
			tokens = append(tokens, "other")
		}
	}
}

// leastOf is what some plain rules make of the tokens.
func leastOf(tokens []string) (least effects) {
	first, selects := true, false
	for i, token := range tokens {
		next := func(n int) string {
			if i+n < len(tokens) {
				return strings.ToLower(tokens[i+n])
			}
			return ""
		}
		token = strings.ToLower(token)
		if first {
			selects = token == "word select"
			least |= map[string]effects{
				"word listen": pins | listens, "word unlisten": unpins, "word load": pins, "word deallocate": spoils,
				"word do": unknown, "word call": unknown, "word execute": unknown, "word reset": 0,
			}[token]
			if token == "word create" && (next(1) == "word temp" || next(1) == "word temporary") {
				least |= pins
			}
			if token == "word set" && next(1) == "word work_mem" && next(2) == "other" {
				least |= sets
			}
		}
		if selects && token == "word pg_advisory_lock" && next(1) == "(" && tokens[i-1] == "word SELECT" {
			least |= pins
		}
		if selects && (token == "," || token == "word select") && (next(1) == "word f" || next(1) == "word run") && next(2) == "(" {
			least |= unknown
		}
		first = token == ";" || first && token == "("
	}
	return least
}

// With quadratic time this would take hours.
func TestTheLexerTakesLinearTime(t *testing.T) {
	for _, part := range []string{
		"/*", "/**/", "'", "''", "E'a'\n", "E'a'\n--\n", "$a$", "$a", "$", "(", "f(", "set_config(", "set_config('a.b',", "set a.b,", "set.", "set ",
		"\"", "a.", "explain (", "explain (a) ", "explain ", "explain ((", "--", "--\n", ";", "\\", "U&\"\\", "prepare ", "set a.b;",
	} {
		sql := strings.Repeat(part, 1<<20/len(part))
		effectsOf(sql)
		effectsOf("SELECT '\\' " + sql)
		sole("DEALLOCATE " + sql)
		customs(nil).effectsOf("SET a.b = c." + sql)
		customs(nil).effectsOf("SET a.b = c; SET " + sql)
	}
}

// FuzzEffects compares the lexer with the plain one, and what is made of a text with what
// some plain rules make of its tokens: neither comments nor what is in quotes changes it.
func FuzzEffects(f *testing.F) {
	for _, v := range verdicts {
		f.Add(v.sql)
	}
	for _, sql := range append(harmful, innocent...) {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		known := effects(0)
		for _, escapes := range []bool{false, true} {
			want, ends := plainTokens(sql, escapes)
			got, ended := lexed(sql, escapes)
			if ended != ends || ends && !slices.Equal(got, want) {
				t.Fatalf("%q (%v)\n%q\n%q", sql, escapes, got, want)
			}
			if !ends {
				continue
			}
			known |= leastOf(want)
		}
		if _, ends := plainTokens(sql, false); !ends && effectsOf(sql) == 0 {
			t.Errorf("%q does not end, and leaves nothing", sql)
		}
		if got := effectsOf(sql); known&^got != 0 {
			t.Errorf("%q is %s, and at least %s", sql, got.words(), known.words())
		}
		command, _ := sole(sql)
		if command != "" && effectsOf(sql)&spoils == 0 {
			t.Errorf("%q spoils nothing", sql)
		}
		customs(nil).effectsOf(sql)
	})
}
