//go:build unix

package pools

import (
	"errors"
	"io"
	"syscall"
)

// peek looks into the socket. It neither blocks nor takes anything out, but for an
// error, which the system tells once.
func (c *exactConn) peek() arrived {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nothing
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		c.note(err)
		return theEnd
	}
	var n int
	var failed error
	// Control, because Read would wait for whoever reads already, as pgx's reader in
	// the background may.
	err = raw.Control(func(fd uintptr) {
		var first [1]byte
		for {
			n, _, failed = syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	switch {
	case err != nil: // it is closed
		c.note(err)
		return theEnd
	case errors.Is(failed, syscall.EAGAIN), errors.Is(failed, syscall.EWOULDBLOCK):
		return nothing
	case failed != nil:
		c.note(failed)
		return theEnd
	case n == 0:
		c.note(io.EOF)
		return theEnd
	}
	return something
}
