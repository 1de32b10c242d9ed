package pools

import (
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// jsonValue is what JSON has for a value that the server sent as text; nil is
// NULL.
func jsonValue(oid uint32, text []byte) any {
	if text == nil {
		return nil
	}
	switch oid {
	case pgtype.BoolOID:
		return string(text) == "t"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.Float4OID, pgtype.Float8OID:
		if isNumber(text) {
			return json.Number(text)
		} // else NaN, Infinity or -Infinity
	case pgtype.JSONOID, pgtype.JSONBOID:
		if json.Valid(text) {
			return json.RawMessage(slices.Clone(text))
		} // else one value of it would spoil the whole answer
	}
	return string(text)
}

// isNumber tells whether the text is a number in JSON, with nothing around it.
func isNumber(text []byte) bool {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	return len(text) > 0 && (text[0] == '-' || digit(text[0])) && digit(text[len(text)-1]) && json.Valid(text)
}
