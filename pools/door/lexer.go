package door

import "strings"

// tokenKind is what a token of SQL is, as far as the door cares.
type tokenKind uint8

const (
	endToken    tokenKind = iota
	wordToken             // an identifier or a keyword
	quotedToken           // "an identifier", its content
	stringToken           // its content
	nextToken             // ; between statements
	openToken             // (
	closeToken            // )
	dotToken
	commaToken
	otherToken // a number, a parameter, a character of an operator, ...
)

// lexer splits SQL as PostgreSQL's does (scan.l). Bytes from 0x80 on are part of names:
// the door refuses the encodings in which a part of a character may be a quote.
type lexer struct {
	sql string
	at  int
	// escapes: a backslash escapes in '...' too (standard_conforming_strings is off).
	escapes bool

	// text is the word, or what stands between the quotes.
	text string
	// plain: text is what the server makes of it, without an escape or a doubled quote.
	plain bool
	// backslash: in some '...' there was one. unicode: there was a U&"..." with one, so that
	// a name may be another one than it looks. broken: something does not end; the server
	// refuses such a text as a whole.
	backslash, unicode, broken bool
}

// classOf says what a byte may begin or be part of.
var classOf = func() (class [256]byte) {
	for c := range class {
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80:
			class[c] = beginsWord | inWord | inTag
		case '0' <= c && c <= '9':
			class[c] = inWord | inTag | digit
		case c == '$':
			class[c] = inWord
		case strings.IndexByte(" \t\n\r\f\v", byte(c)) >= 0:
			class[c] = space
		}
	}
	return class
}()

const (
	beginsWord = 1 << iota
	inWord
	inTag // of a dollar quote
	digit
	space
)

// next is the next token.
func (l *lexer) next() tokenKind {
	for l.at < len(l.sql) {
		c := l.sql[l.at]
		switch class := classOf[c]; {
		case class&beginsWord != 0:
			return l.word()
		case class&space != 0:
			l.at++
			continue
		case class&digit != 0:
			l.at = l.past(l.at, digit)
			return otherToken
		}
		switch c {
		case '-', '/':
			if l.comment() {
				continue
			}
		case '\'':
			return l.quote('\'', l.escapes, true)
		case '"':
			return l.quote('"', false, true)
		case '$':
			return l.dollar()
		}
		l.at++
		switch c {
		case ';':
			return nextToken
		case '(':
			return openToken
		case ')':
			return closeToken
		case '.':
			return dotToken
		case ',':
			return commaToken
		}
		return otherToken
	}
	return endToken
}

// past is the place after the bytes of a class that are at the place.
func (l *lexer) past(at int, class byte) int {
	for at < len(l.sql) && classOf[l.sql[at]]&class != 0 {
		at++
	}
	return at
}

// word is a word, or a string or a name with a prefix.
func (l *lexer) word() tokenKind {
	begin := l.at
	l.at = l.past(begin, inWord)
	l.text = l.sql[begin:l.at]
	if l.at == len(l.sql) || len(l.text) > 1 {
		return wordToken
	}
	switch prefix, c := l.text[0]|0x20, l.sql[l.at]; {
	case c == '\'' && prefix == 'e':
		return l.quote('\'', true, false)
	case c == '\'' && prefix == 'n':
		return l.quote('\'', l.escapes, true)
	case c == '\'' && (prefix == 'b' || prefix == 'x'):
		return l.quote('\'', false, false)
	case c == '&' && prefix == 'u' && l.at+1 < len(l.sql):
		switch q := l.sql[l.at+1]; q {
		case '\'':
			l.at++
			return l.quote(q, false, false)
		case '"':
			l.at++
			kind := l.quote(q, false, false)
			l.unicode = l.unicode || !l.plain
			return kind
		}
	}
	return wordToken
}

// quote is what the quote at the place encloses. conforming: it is a '...' in which
// standard_conforming_strings decides what a backslash is.
func (l *lexer) quote(q byte, escapes, conforming bool) tokenKind {
	l.at++
	begin := l.at
	l.plain = true
	for l.at < len(l.sql) {
		c := l.sql[l.at]
		l.at++
		switch {
		case c == '\\':
			l.plain = false
			l.backslash = l.backslash || conforming && q == '\''
			if escapes {
				l.at++
			}
		case c != q:
		case l.at < len(l.sql) && l.sql[l.at] == q:
			l.plain = false
			l.at++
		case escapes && l.continues():
			l.plain = false
		default:
			l.text = l.sql[begin : l.at-1]
			if q == '"' {
				return quotedToken
			}
			return stringToken
		}
	}
	return l.unfinished()
}

// continues tells whether the string that has just ended goes on: after white space with a
// line's end in it, and as one of the same kind. Then it goes there.
func (l *lexer) continues() bool {
	line := false
	for at := l.at; at < len(l.sql); {
		switch c := l.sql[at]; {
		case c == '\n' || c == '\r':
			line = true
			at++
		case classOf[c]&space != 0:
			at++
		case strings.HasPrefix(l.sql[at:], "--"):
			end := strings.IndexAny(l.sql[at:], "\r\n")
			if end < 0 {
				return false
			}
			at += end
		case c == '\'' && line:
			l.at = at + 1
			return true
		default:
			return false
		}
	}
	return false
}

// dollar is a string in dollar quotes, a parameter, or a lone dollar.
func (l *lexer) dollar() tokenKind {
	begin := l.at
	l.at++
	end := l.at
	if end < len(l.sql) && classOf[l.sql[end]]&digit == 0 {
		end = l.past(end, inTag)
	}
	if end == len(l.sql) || l.sql[end] != '$' {
		return otherToken
	}
	tag := l.sql[begin : end+1]
	length := strings.Index(l.sql[end+1:], tag)
	if length < 0 {
		return l.unfinished()
	}
	l.text, l.plain = l.sql[end+1:end+1+length], true
	l.at = end + 1 + length + len(tag)
	return stringToken
}

// comment goes past the comment at the place, if there is one.
func (l *lexer) comment() bool {
	rest := l.sql[l.at:]
	if len(rest) < 2 {
		return false
	}
	switch rest[:2] {
	case "--":
		if end := strings.IndexAny(rest, "\r\n"); end >= 0 {
			l.at += end
		} else {
			l.at = len(l.sql)
		}
		return true
	case "/*":
		depth := 0
		for i := 0; i+1 < len(rest); i++ {
			switch rest[i : i+2] {
			case "/*":
				depth++
				i++
			case "*/":
				depth--
				i++
			}
			if depth == 0 {
				l.at += i + 1
				return true
			}
		}
		l.unfinished()
		return true
	}
	return false
}

// unfinished is for what does not end.
func (l *lexer) unfinished() tokenKind {
	l.broken = true
	l.at = len(l.sql)
	return endToken
}

// lower writes a word in lower case into the buffer, and returns what is in it; nil if the
// buffer is too small for it.
func lower(word string, buffer []byte) []byte {
	if len(word) > len(buffer) {
		return nil
	}
	for i := range len(word) {
		c := word[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		buffer[i] = c
	}
	return buffer[:len(word)]
}
