package web

import (
	"crypto/sha256"
	"maps"
	"sync/atomic"
)

// knownTokens remembers the tokens that were found good, because to check a
// signature costs more than to answer. The map belongs to one set of keys. Only good
// tokens are kept, and of each only the hash.
//
// There is no lock: the map is never changed, but replaced.
type knownTokens struct {
	byHash atomic.Pointer[map[tokenHash]identity]
}

type tokenHash [sha256.Size]byte

// maxKnownTokens bounds the memory; beyond it, all are checked anew.
const maxKnownTokens = 256

func (k *knownTokens) get(hash tokenHash) (identity, bool) {
	known := k.byHash.Load()
	if known == nil {
		return identity{}, false
	}
	who, ok := (*known)[hash]
	return who, ok
}

// add may forget what others add at the same moment: they are checked again.
func (k *knownTokens) add(hash tokenHash, who identity) {
	before := k.byHash.Load()
	after := make(map[tokenHash]identity)
	if before != nil && len(*before) < maxKnownTokens {
		after = maps.Clone(*before)
	}
	after[hash] = who
	k.byHash.CompareAndSwap(before, &after)
}
