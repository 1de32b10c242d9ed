package pools

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantpool/tenantpool/model"
)

// The arguments of a statement reach the server as they were given: as text, in
// their order, and never as a part of the SQL.
func FuzzParameters(f *testing.F) {
	for _, args := range []string{
		`[]`, `[null]`, `[true,false]`, `["",null,"a'b\\"]`, `[1,-1.50,1e400,123456789012345678901234567890]`,
		`[[1,[2,{"a":null}]],{"b":"<&>","\u0000":1}]`, `["\ud800","\u0000"]`, `[{"a":1,"a":2}]`,
	} {
		f.Add("SELECT $1", args)
	}
	f.Add("SELECT 1\x00", `[]`)
	f.Fuzz(func(t *testing.T, sql, text string) {
		args, ok := decoded(text).([]any)
		if !ok {
			t.Skip("no list")
		}
		params, err := parameters(model.Query{SQL: sql, Args: args})
		if strings.ContainsRune(sql, 0) {
			if err == nil {
				t.Errorf("%q would be cut", sql)
			}
			return
		}
		if err != nil || len(params) != len(args) {
			t.Fatalf("%s: %d parameters, %v", text, len(params), err)
		}
		for i, arg := range args {
			got := params[i]
			switch arg := arg.(type) {
			case nil:
				if got != nil {
					t.Errorf("NULL became %q", got)
				}
				continue
			case bool:
				if string(got) != map[bool]string{true: "true", false: "false"}[arg] {
					t.Errorf("%v became %q", arg, got)
				}
			case string:
				if string(got) != arg {
					t.Errorf("%q became %q", arg, got)
				}
			case json.Number:
				if string(got) != arg.String() {
					t.Errorf("%v became %q", arg, got)
				}
			default:
				if again := decoded(string(got)); !reflect.DeepEqual(again, arg) {
					t.Errorf("%#v became %q", arg, got)
				}
			}
			if got == nil {
				t.Errorf("%#v became NULL", arg)
			}
		}
	})
}

// decoded is the JSON as workspace.query has it, or nil.
func decoded(text string) (value any) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

// Whatever text a server sends for a value, the answer can be written as JSON, and
// text that is no JSON's is in it unchanged.
func FuzzValues(f *testing.F) {
	for _, text := range []string{"", "t", "1", "-0", "01", "1e+20", "NaN", "Infinity", "1.", "0x1", `{"a": 1}`, `{`, `"\ud800"`, "\xff", "1 "} {
		for _, oid := range valueTypes {
			f.Add(oid, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, oid uint32, text []byte) {
		value := jsonValue(oid, text)
		answer, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("type %d, %q: %#v: %v", oid, text, value, err)
		}
		switch value := value.(type) {
		case string:
			if value != string(text) {
				t.Errorf("type %d: %q became %q", oid, text, value)
			}
		case json.Number:
			if string(answer) != string(text) {
				t.Errorf("type %d: %q became %s", oid, text, answer)
			}
		case json.RawMessage:
			var compact bytes.Buffer
			if json.Compact(&compact, text) != nil || !reflect.DeepEqual(decoded(string(answer)), decoded(string(text))) {
				t.Errorf("type %d: %q became %s", oid, text, answer)
			}
		case bool:
			if oid != pgtype.BoolOID || value != (string(text) == "t") {
				t.Errorf("type %d: %q became %v", oid, text, value)
			}
		default:
			if text != nil {
				t.Errorf("type %d: %q became %#v", oid, text, value)
			}
		}
	})
}

var valueTypes = []uint32{pgtype.BoolOID, pgtype.Int8OID, pgtype.Float8OID, pgtype.JSONOID, pgtype.TextOID}

// Whatever a server answers, a result keeps to its limits, has rows of one length,
// and can be written as JSON.
func FuzzAnswers(f *testing.F) {
	answer := func(messages ...pgproto3.BackendMessage) []byte {
		var stream []byte
		for _, m := range messages {
			var err error
			if stream, err = m.Encode(stream); err != nil {
				f.Fatal(err)
			}
		}
		return stream
	}
	columns := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
		{Name: []byte("n"), DataTypeOID: pgtype.Float8OID}, {Name: []byte("j"), DataTypeOID: pgtype.JSONOID},
	}}
	row := &pgproto3.DataRow{Values: [][]byte{[]byte("1.5"), []byte(`{"a":[]}`)}}
	done := &pgproto3.CommandComplete{CommandTag: []byte("SELECT 2")}
	f.Add(answer(columns, row, row, done), uint8(0), uint16(0))
	f.Add(answer(columns, row, row, &pgproto3.PortalSuspended{}), uint8(1), uint16(0))
	f.Add(answer(columns, row, row, done), uint8(9), uint16(20))
	f.Add(answer(row), uint8(0), uint16(0))
	f.Add(answer(columns, columns, row), uint8(0), uint16(0))
	f.Add(answer(columns, &pgproto3.DataRow{Values: [][]byte{{}, nil}}, &pgproto3.ErrorResponse{Code: "57014"}), uint8(0), uint16(0))
	f.Add(answer(&pgproto3.CommandComplete{CommandTag: []byte("DO")}, &pgproto3.CommandComplete{}, &pgproto3.EmptyQueryResponse{}), uint8(0), uint16(0))
	f.Add(answer(&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}}), uint8(0), uint16(0))
	f.Fuzz(func(t *testing.T, stream []byte, maxRows uint8, maxBytes uint16) {
		// Not read-only: nothing is interrupted before 64 MiB were thrown away.
		s := &statement{query: model.Query{MaxRows: int(maxRows), MaxBytes: int(maxBytes)}}
		server := pgproto3.NewFrontend(bytes.NewReader(stream), io.Discard)
		server.SetMaxBodyLen(1 << 20)
		for {
			message, err := server.Receive()
			if err != nil || s.answer(message) != nil {
				break
			}
		}
		r, size := s.result, 0
		for _, row := range r.Rows {
			if len(row) != len(r.Columns) {
				t.Fatalf("%d values in %d columns", len(row), len(r.Columns))
			}
			for _, value := range row {
				size += textSize(value) + 1
			}
		}
		if maxRows > 0 && len(r.Rows) > int(maxRows) || maxBytes > 0 && size > int(maxBytes) {
			t.Errorf("%d rows of %d bytes are more than %d rows or %d bytes", len(r.Rows), size, maxRows, maxBytes)
		}
		if _, err := json.Marshal(r.Rows); err != nil {
			t.Error(err)
		}
	})
}

// textSize is how long the server's text was, or less for a bool.
func textSize(value any) int {
	switch value := value.(type) {
	case string:
		return len(value)
	case json.Number:
		return len(value)
	case json.RawMessage:
		return len(value)
	}
	return 0
}
