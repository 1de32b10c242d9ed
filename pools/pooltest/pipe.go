package pooltest

import "net"

// eager is the server's end of a net.Pipe. It takes what the client writes whether the
// session reads or not, as a socket's buffer does: both might be writing at a time.
type eager struct {
	net.Conn
	came chan []byte // closed at the end
	rest []byte      // of what came
	end  error       // valid when came is closed
	over chan struct{}
}

// eagerAtMost is how many pieces lie in the buffer; then the client waits.
const eagerAtMost = 1024

func newEager(conn net.Conn) *eager {
	e := &eager{Conn: conn, came: make(chan []byte, eagerAtMost), over: make(chan struct{})}
	go func() {
		defer close(e.came)
		for {
			piece := make([]byte, 4096)
			n, err := conn.Read(piece)
			if n > 0 {
				select {
				case e.came <- piece[:n]:
				case <-e.over:
				}
			}
			if err != nil {
				e.end = err
				return
			}
		}
	}()
	return e
}

func (e *eager) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		piece, more := <-e.came
		if !more {
			return 0, e.end
		}
		e.rest = piece
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// Close is called once.
func (e *eager) Close() error {
	close(e.over)
	return e.Conn.Close()
}
