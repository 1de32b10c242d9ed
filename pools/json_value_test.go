package pools

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// No PostgreSQL sends such values; who pretends to be one may.
func TestAValueThatMakesNoSensePanicsNowhere(t *testing.T) {
	if v := jsonValue(pgtype.Float8OID, []byte{}); v != "" {
		t.Errorf("an empty float is %#v", v)
	}
	s := &statement{oids: []uint32{pgtype.TextOID}}
	if err := s.answer(&pgproto3.DataRow{Values: [][]byte{nil, nil}}); err == nil {
		t.Error("a row with too many values is accepted")
	}
	s.before = []string{"RESET ALL"}
	if err := s.answer(&pgproto3.DataRow{}); err != nil || len(s.result.Rows) != 0 {
		t.Errorf("the row of a reset: %v, %v", s.result.Rows, err)
	}
}
