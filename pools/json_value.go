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
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return json.Number(text)
	case pgtype.Float4OID, pgtype.Float8OID:
		if n := len(text); n > 0 && '0' <= text[n-1] && text[n-1] <= '9' {
			return json.Number(text)
		} // else NaN, Infinity or -Infinity
	case pgtype.JSONOID, pgtype.JSONBOID:
		return json.RawMessage(slices.Clone(text))
	}
	return string(text)
}
