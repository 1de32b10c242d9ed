package pools

import (
	"encoding/binary"
	"io"
)

// answers reads what a server sends, and notes when it is ready for the next query.
// Only here, above TLS and below pgx, is that to be seen: pgx has no word for whether
// a caller waits for a query or for a notification.
//
// With several Syncs in flight (pgx's Pipeline) the first answer counts for all. A
// context that ends then costs the connection, as it does with pgx's own handlers.
type answers struct {
	io.Reader
	session *exactConn
	head    [5]byte // of the message being read: its kind and length
	read    int     // how many bytes of head are there
	body    int     // how many bytes of its body are still to come
}

func (a *answers) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.follow(p[:n])
	return n, err
}

// follow goes from message to message, without a look at what is in them.
func (a *answers) follow(p []byte) {
	for len(p) > 0 {
		if a.read == 0 && len(p) >= len(a.head) {
			if end := 1 + bodyAndLength(p); end <= len(p) { // a whole message, as nearly all are
				a.ended(p[0])
				p = p[end:]
				continue
			}
		}
		if a.read < len(a.head) {
			n := copy(a.head[a.read:], p)
			a.read += n
			p = p[n:]
			if a.read < len(a.head) {
				return
			}
			a.body = bodyAndLength(a.head[:]) - 4
		}
		n := min(a.body, len(p))
		a.body -= n
		p = p[n:]
		if a.body > 0 {
			return
		}
		a.read = 0
		a.ended(a.head[0])
	}
}

func (a *answers) ended(kind byte) {
	if kind == 'Z' { // ReadyForQuery
		a.session.answered.Store(true)
	}
}

// bodyAndLength is what a message's length counts: its body and the length itself.
func bodyAndLength(head []byte) int { return max(4, int(binary.BigEndian.Uint32(head[1:]))) }
