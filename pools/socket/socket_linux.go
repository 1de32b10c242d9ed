package socket

import (
	"os"
	"syscall"
	"unsafe"
)

const direct = true

// read reads what is there; false: nothing is.
func (t *transfer) read(fd uintptr) bool {
	p := t.data
	if t.memory != nil {
		p = t.memory.Room()
	}
	n, errno := call(syscall.SYS_READ, fd, p)
	if errno == syscall.EAGAIN {
		if t.memory != nil {
			t.memory.Rest()
		}
		return false
	}
	t.n = n
	if errno != 0 {
		t.err = os.NewSyscallError("read", errno)
	}
	return true
}

// write writes the rest; false: there is no room for all of it.
func (t *transfer) write(fd uintptr) bool {
	for t.n < len(t.data) {
		n, errno := call(syscall.SYS_WRITE, fd, t.data[t.n:])
		if errno == syscall.EAGAIN {
			return false
		}
		if errno != 0 {
			t.err = os.NewSyscallError("write", errno)
			return true
		}
		t.n += n
	}
	return true
}

// call does not tell the runtime: the sockets of package net do not block.
func call(what, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(what, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}
