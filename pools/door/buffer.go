package door

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/tenantpool/tenantpool/pools/socket"
)

const (
	// bufferSize is that of the buffers in the pool: what a client or a server sends at once
	// mostly fits in, and what fits in cannot fill a socket's own buffer.
	bufferSize = 16 << 10
	// head is the kind and the length that each message begins with.
	head = 5
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// inbox is what came from one side and was not handled yet. It has a buffer only while it
// has something, or while somebody waits for more of it.
type inbox struct {
	buf  []byte
	r, w int // buf[r:w] is there
	// passing is how many bytes of the message are still to come that goes through as it
	// is, part by part.
	passing int
}

// fill reads once, after making room for a message of need bytes.
func (b *inbox) fill(from io.Reader, need int) error {
	b.makeRoom(need)
	n, err := from.Read(b.buf[b.w:])
	return b.came(n, err)
}

// await is fill without a buffer for as long as nothing comes.
func (b *inbox) await(from *socket.Socket) error {
	n, err := from.ReadInto(b)
	return b.came(n, err)
}

func (b *inbox) came(n int, err error) error {
	b.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom has room for at least one more byte of a message of need bytes. The buffer grows
// with what comes, and not with what somebody has said will come.
func (b *inbox) makeRoom(need int) {
	switch {
	case b.buf == nil:
		b.buf = buffers.Get().(*[bufferSize]byte)[:]
		return
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.r > 0 && (b.w == len(b.buf) || len(b.buf)-b.r < need):
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
	}
	if b.w == len(b.buf) {
		larger := make([]byte, max(min(need, 2*len(b.buf)), len(b.buf)+1))
		b.w = copy(larger, b.buf)
		b.giveBack()
		b.buf = larger
	}
}

// Room and Rest make it a socket.Memory.
func (b *inbox) Room() []byte {
	b.makeRoom(0)
	return b.buf[b.w:]
}

// Rest gives the buffer back if there is nothing in it.
func (b *inbox) Rest() {
	if b.r == b.w && b.buf != nil {
		b.giveBack()
		b.buf, b.r, b.w = nil, 0, 0
	}
}

func (b *inbox) giveBack() {
	if len(b.buf) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b.buf))
	}
}

func (b *inbox) len() int { return b.w - b.r }

// next is the message that is next: its kind, and its size with the head; 0 as long as
// the head is not there. A length that cannot be is -1.
func (b *inbox) next() (kind byte, size int) {
	if b.len() < head {
		return 0, 0
	}
	length := binary.BigEndian.Uint32(b.buf[b.r+1:])
	if length < head-1 || length > 1<<30 {
		return b.buf[b.r], -1
	}
	return b.buf[b.r], int(length) + 1
}

// body is that of the next message, which is there as far as it has come. It is good until
// the next fill.
func (b *inbox) body(size int) []byte { return b.buf[b.r+head : min(b.r+size, b.w)] }

// pass takes as much as is there of the message that goes through as it is.
func (b *inbox) pass() []byte {
	n := min(b.passing, b.len())
	part := b.buf[b.r : b.r+n]
	b.r += n
	b.passing -= n
	return part
}
