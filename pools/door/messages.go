package door

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/jackc/pgx/v5/pgproto3"
)

// The kinds of messages, by the names of the protocol's documentation ("Message Formats").
const (
	msgBind         = 'B'
	msgClose        = 'C'
	msgCopyData     = 'd'
	msgCopyDone     = 'c'
	msgCopyFail     = 'f'
	msgDescribe     = 'D'
	msgExecute      = 'E'
	msgFlush        = 'H'
	msgFunction     = 'F'
	msgParse        = 'P'
	msgQuery        = 'Q'
	msgSync         = 'S'
	msgTerminate    = 'X'
	msgPassword     = 'p'
	ansCloseDone    = '3'
	ansCommand      = 'C'
	ansCopyIn       = 'G'
	ansCopyBoth     = 'W'
	ansError        = 'E'
	ansParameter    = 'S'
	ansParseDone    = '1'
	ansReady        = 'Z'
	ansDataRow      = 'D'
	ansNotice       = 'N'
	ansNotification = 'A'
	statusIdle      = 'I'
	statusInTx      = 'T'
	statusFailedTx  = 'E'
)

// appendHead begins a message whose body has size bytes.
func appendHead(to []byte, kind byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(to, kind), uint32(size)+4)
}

func appendString(to []byte, s string) []byte { return append(append(to, s...), 0) }

func appendQuery(to []byte, sql string) []byte {
	return appendString(appendHead(to, msgQuery, len(sql)+1), sql)
}

// appendNamed appends a Close or Describe of a statement.
func appendNamed(to []byte, kind byte, name string) []byte {
	return appendString(append(appendHead(to, kind, len(name)+2), 'S'), name)
}

func appendReady(to []byte, status byte) []byte {
	return append(appendHead(to, ansReady, 1), status)
}

func appendCommandDone(to []byte, tag string) []byte {
	return appendString(appendHead(to, ansCommand, len(tag)+1), tag)
}

func appendParameter(to []byte, p parameter) []byte {
	return appendString(appendString(appendHead(to, ansParameter, len(p.name)+len(p.value)+2), p.name), p.value)
}

// encoded is a message of the door's own, which is short.
func encoded(m pgproto3.BackendMessage) []byte {
	message, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return message
}

// cutString takes a string from the beginning of a body.
func cutString(body []byte) (s, rest []byte, ok bool) { return bytes.Cut(body, []byte{0}) }

// text is a string that is good for as long as b is not changed.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// errorField is a field of an ErrorResponse's body, or nil.
func errorField(body []byte, field byte) []byte {
	for len(body) > 1 {
		value, rest, ok := cutString(body[1:])
		if !ok {
			return nil
		}
		if body[0] == field {
			return value
		}
		body = rest
	}
	return nil
}
