package property_tests

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// FuzzCore makes logs of bytes, in place of rapid's own random numbers: coverage
// then guides the search to the rare branches. Each log goes through the core and
// the reference, as in the tests.
//
// A log needs some tens of thousands of bytes. Shorter input is none, so the search
// begins with long ones, one for each budget and mix that they happen to draw.
func FuzzCore(f *testing.F) {
	var mixes []func(*rapid.T)
	for _, m := range []mix{draining, sound, seated, crowded, failing} {
		mixes = append(mixes, sameAsReference(m))
	}
	random := rand.NewChaCha8([32]byte{})
	for range 8 {
		seed := make([]byte, logBytes)
		_, _ = random.Read(seed)
		f.Add(seed)
	}
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		mixes[rapid.IntRange(0, len(mixes)-1).Draw(t, "mix")](t)
	}))
}

// logBytes are enough for nearly all logs.
const logBytes = 40_000
