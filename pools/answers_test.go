package pools

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"
)

// However the bytes come in, and whatever looks like it inside of another message.
func TestTheServerIsReadyAfterReadyForQueryAndNothingElse(t *testing.T) {
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	disguise, err := ready.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		messages []pgproto3.BackendMessage
		want     bool
	}{
		"an answer":           {[]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, ready}, true},
		"then a notification": {[]pgproto3.BackendMessage{ready, &pgproto3.NotificationResponse{Channel: "c", Payload: "p"}}, true},
		"half an answer":      {[]pgproto3.BackendMessage{&pgproto3.DataRow{Values: [][]byte{{1}}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}}, false},
		"a value":             {[]pgproto3.BackendMessage{&pgproto3.DataRow{Values: [][]byte{disguise}}}, false},
		"an empty message":    {[]pgproto3.BackendMessage{&pgproto3.NoData{}, ready}, true},
	} {
		var stream []byte
		for _, m := range test.messages {
			if stream, err = m.Encode(stream); err != nil {
				t.Fatal(err)
			}
		}
		for pace, from := range map[string]io.Reader{
			"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		} {
			a := &answers{Reader: from, session: newExactConn(nil)}
			if read, err := io.ReadAll(a); err != nil || !bytes.Equal(read, stream) {
				t.Errorf("%s, %s: the stream was changed: %v", name, pace, err)
			}
			if got := a.session.answered.Load(); got != test.want {
				t.Errorf("%s, %s: ready %v, want %v", name, pace, got, test.want)
			}
		}
	}
}
