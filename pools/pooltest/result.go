package pooltest

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Result is what a statement returns.
type Result struct {
	columns []string
	rows    [][]any
	tag     string
}

// Rows begins a result with these columns; each Row adds one to it:
//
//	pooltest.Rows("id", "name").Row(1, "Ada").Row(2, "Bob")
func Rows(columns ...string) *Result { return &Result{columns: columns} }

// Row adds a row, and returns the result. The values are of the types that the test's
// program scans into, or nil for NULL: the first value of a column that is not nil says of
// which type it is for PostgreSQL. One that pgx knows no type for is jsonb.
func (r *Result) Row(values ...any) *Result {
	r.rows = append(r.rows, values)
	return r
}

// Tag is the result of a statement without rows: its command tag, such as UPDATE 3.
func Tag(tag string) *Result { return &Result{tag: tag} }

// Scan reads the arguments into variables, in their order, as a row's Scan does.
func (q Query) Scan(dest ...any) error {
	if len(dest) != len(q.Args) {
		return fmt.Errorf("pooltest: scan %d arguments into %d variables: %s", len(q.Args), len(dest), q.SQL)
	}
	types := pgtype.NewMap()
	for i, arg := range q.Args {
		var src []byte
		if text, ok := arg.(string); ok {
			src = []byte(text)
		}
		oid := uint32(pgtype.TextOID)
		if t, known := types.TypeForValue(dest[i]); known {
			oid = t.OID
		}
		if err := types.Scan(oid, pgtype.TextFormatCode, src, dest[i]); err != nil {
			return fmt.Errorf("pooltest: scan argument %d: %w", i+1, err)
		}
	}
	return nil
}

// describe returns the columns as the protocol has them.
func (r *Result) describe(formats []int16) ([]pgproto3.FieldDescription, error) {
	types := pgtype.NewMap()
	fields := make([]pgproto3.FieldDescription, len(r.columns))
	for i, name := range r.columns {
		fields[i] = pgproto3.FieldDescription{Name: []byte(name), DataTypeOID: pgtype.TextOID, DataTypeSize: -1, TypeModifier: -1, Format: formatOf(formats, i)}
	}
	for n, row := range r.rows {
		if len(row) != len(fields) {
			return nil, refusal(pgerrcode.InternalError, fmt.Sprintf("pooltest: row %d has %d values, and there are %d columns", n+1, len(row), len(fields)))
		}
	}
	for i := range fields {
		for _, row := range r.rows {
			if row[i] == nil {
				continue
			}
			fields[i].DataTypeOID = pgtype.JSONBOID
			if t, known := types.TypeForValue(row[i]); known {
				fields[i].DataTypeOID = t.OID
			}
			break
		}
	}
	return fields, nil
}

// encode returns a row as the protocol has it.
func encode(row []any, fields []pgproto3.FieldDescription) ([][]byte, error) {
	types := pgtype.NewMap()
	values := make([][]byte, len(row))
	for i, value := range row {
		if value == nil {
			continue
		}
		encoded, err := types.Encode(fields[i].DataTypeOID, fields[i].Format, value, []byte{})
		if fields[i].DataTypeOID == pgtype.JSONBOID && err != nil {
			encoded, err = json.Marshal(value)
		}
		if err != nil {
			return nil, refusal(pgerrcode.InternalError, fmt.Sprintf("pooltest: column %q: %v", fields[i].Name, err))
		}
		values[i] = encoded
	}
	return values, nil
}
