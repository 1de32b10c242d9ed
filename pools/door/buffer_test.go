package door

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// An inbox gives messages back as they were sent, in whatever pieces they come.
func TestAnInboxGivesBackWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []byte
		var sizes []int
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			size := rapid.SampledFrom([]int{0, 1, 100, bufferSize - 6, bufferSize - 5, bufferSize, 3 * bufferSize}).Draw(t, "size")
			sizes = append(sizes, size+head)
			sent = binary.BigEndian.AppendUint32(append(sent, 'Q'), uint32(size+4))
			for range size {
				sent = append(sent, byte(rand.Uint32()))
			}
		}
		from := iotest.DataErrReader(bytes.NewReader(sent))
		if rapid.Bool().Draw(t, "halves") {
			from = iotest.HalfReader(from)
		}
		var in inbox
		var got []byte
		for _, want := range sizes {
			for {
				kind, size := in.next()
				if size != 0 && (kind != 'Q' || size != want) {
					t.Fatalf("%q of %d bytes, and not %d", kind, size, want)
				}
				if size != 0 && size <= in.len() {
					got = append(got, in.buf[in.r:in.r+size]...)
					in.r += size
					break
				}
				if err := in.fill(from, size); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.Bool().Draw(t, "rest") {
				in.Rest()
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("something else came out")
		}
	})
}

// Who says that much will come is not given that much memory for it.
func TestAnInboxGrowsWithWhatComes(t *testing.T) {
	var in inbox
	for range 10 {
		if err := in.fill(bytes.NewReader(make([]byte, 100)), 1<<29); err != nil {
			t.Fatal(err)
		}
	}
	if len(in.buf) > bufferSize {
		t.Errorf("a buffer of %d bytes for 1,000", len(in.buf))
	}
}
