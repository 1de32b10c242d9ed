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

const readyForQuery = 'Z'

func (a *answers) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.follow(p[:n])
	return n, err
}

// follow goes from message to message, without a look at what is in them.
func (a *answers) follow(p []byte) {
	for len(p) > 0 {
		if a.read < len(a.head) {
			n := copy(a.head[a.read:], p)
			a.read += n
			p = p[n:]
			if a.read < len(a.head) {
				return
			}
			a.body = max(0, int(binary.BigEndian.Uint32(a.head[1:]))-4) // the length counts itself
		}
		n := min(a.body, len(p))
		a.body -= n
		p = p[n:]
		if a.body > 0 {
			return
		}
		a.read = 0
		if a.head[0] == readyForQuery {
			a.session.answered.Store(true)
		}
	}
}
