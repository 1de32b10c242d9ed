// Package socket reads and writes network connections with less cost than package net.
//
// The runtime is told of each system call of package net, because a call may block: after
// some 20 µs it takes the processor away from the goroutine, and starts another thread. The
// sockets of package net never block, and for a relay, whose calls wake the process at the
// other end and so often take that long, this costs a third of its throughput. Here the
// runtime is not told. What has to wait still waits in the runtime's poller, and deadlines
// are those of the connection.
//
// This is for Linux; elsewhere, and for connections that are no sockets (TLS, pipes), it is
// package net.
package socket

import (
	"io"
	"net"
	"syscall"
)

// Socket is a connection that at most one goroutine reads at a time, and at most one writes.
// It does not own the connection.
type Socket struct {
	conn    net.Conn
	raw     syscall.RawConn // nil: it is package net's
	in, out transfer
	// first is where the first bytes go of what is no socket, and cannot tell that something
	// came.
	first [16]byte
}

// transfer is the read or the write under way. It is kept, so that one costs no allocation.
type transfer struct {
	call   func(fd uintptr) bool // what raw calls, again and again until it is done
	data   []byte
	memory Memory // in place of data
	n      int
	err    error
}

// Memory is where a read puts what comes. Room returns some, of at least 16 bytes; Rest
// takes it back when nothing came, so that whoever waits holds none.
type Memory interface {
	Room() []byte
	Rest()
}

// New makes a Socket of a connection.
func New(conn net.Conn) *Socket {
	s := &Socket{conn: conn}
	if socket, ok := conn.(syscall.Conn); ok && direct {
		if raw, err := socket.SyscallConn(); err == nil {
			s.raw = raw
			s.in.call, s.out.call = s.in.read, s.out.write
		}
	}
	return s
}

// Read is the connection's Read.
func (s *Socket) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		return s.conn.Read(p)
	}
	s.in.data, s.in.memory = p, nil
	return s.read()
}

// ReadInto is Read into memory that is asked for when something has come.
func (s *Socket) ReadInto(memory Memory) (int, error) {
	if s.raw == nil {
		n, err := s.conn.Read(s.first[:])
		if n > 0 {
			n = copy(memory.Room(), s.first[:n])
		}
		return n, err
	}
	s.in.memory = memory
	return s.read()
}

func (s *Socket) read() (int, error) {
	s.in.n, s.in.err = 0, nil
	err := s.raw.Read(s.in.call)
	s.in.data = nil
	switch {
	case err != nil:
		return 0, err
	case s.in.n == 0 && s.in.err == nil:
		return 0, io.EOF
	}
	return s.in.n, s.in.err
}

// Write is the connection's Write.
func (s *Socket) Write(p []byte) (int, error) {
	if s.raw == nil {
		return s.conn.Write(p)
	}
	s.out.data, s.out.n, s.out.err = p, 0, nil
	err := s.raw.Write(s.out.call)
	s.out.data = nil
	if err == nil {
		err = s.out.err
	}
	return s.out.n, err
}
