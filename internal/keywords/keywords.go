// Package keywords reads and writes libpq's form of connection parameters, name=value
// name='a value', in which DB_PARAMETERS is.
package keywords

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

const spaces = " \t\n\r\v\f"

// ErrForm says what cannot be read, without repeating any of it.
var ErrForm = errors.New("it must be name=value pairs with spaces between them, and a value with spaces in single quotes")

// Parse reads it: a backslash stands before a quote, a backslash or a space of a value.
func Parse(s string) (map[string]string, error) {
	set := make(map[string]string)
	for s = strings.TrimLeft(s, spaces); s != ""; s = strings.TrimLeft(s, spaces) {
		name, rest, ok := strings.Cut(s, "=")
		name = strings.TrimRight(name, spaces)
		if !ok || name == "" || strings.ContainsAny(name, spaces) {
			return nil, ErrForm
		}
		rest = strings.TrimLeft(rest, spaces)
		ends, quoted := spaces, strings.HasPrefix(rest, "'")
		if quoted {
			ends, rest = "'", rest[1:]
		}
		var value strings.Builder
		i := 0
		for ; i < len(rest) && !strings.ContainsRune(ends, rune(rest[i])); i++ {
			if rest[i] == '\\' {
				if i++; i == len(rest) {
					break
				}
			}
			value.WriteByte(rest[i])
		}
		if quoted {
			if i >= len(rest) {
				return nil, ErrForm
			}
			i++
		}
		set[name], s = value.String(), rest[i:]
	}
	return set, nil
}

// Format writes what Parse reads.
func Format(set map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		if value == "" || strings.ContainsAny(value, spaces+`'\`) {
			value = "'" + Escape(value) + "'"
		}
		all = append(all, name+"="+value)
	}
	return strings.Join(all, " ")
}

// Escape is for a value that stands in single quotes.
func Escape(value string) string { return escapes.Replace(value) }

var escapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
