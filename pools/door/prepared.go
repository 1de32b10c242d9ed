package door

import (
	"container/list"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"
	"unique"
)

// Prepared statements under transaction pooling. A client's name for a statement means
// nothing to the server: what the server prepares has a name of the door's own, and all
// clients that prepare the same text with the same types share it on each connection. A
// connection that lacks a statement when a client uses it is sent a Parse before, whose
// answer the client does not see.

const (
	// namePrefix is of the door's own names on servers. The rest of a name is a number
	// that no other connection of this process has.
	namePrefix = "tenantpool_"
	// nobodysStatement is prepared nowhere. To Close it is no error and does nothing, so
	// its answer, in the right place among the others, can stand for another one.
	nobodysStatement = namePrefix + "none"
	// preparedAtMost is how many statements a connection keeps; the least recently used
	// one gives way. A statement takes a server some 10 to 100 KiB.
	preparedAtMost = 128
	// namesAtMost bounds the statements of one client.
	namesAtMost = 10_000
)

var lastName atomic.Uint64

// prepared is a statement that a client has prepared.
type prepared struct {
	// parse is the body of Parse after the name: text, and types of parameters. Clients of
	// the same text share it.
	parse unique.Handle[string]
	// effects of carrying it out.
	effects effects
	// gone: it was closed, or its Parse has failed. Whether it has is not known while it is
	// pending, in the batch of its Parse.
	gone, pending bool
	batch         int
}

func newPrepared(rest []byte, e effects) *prepared {
	return &prepared{parse: unique.Make(string(rest)), effects: e}
}

// parseOf splits the body of a Parse. The types are 2 bytes for how many, and 4 for each.
func parseOf(body []byte) (name, sql, rest []byte, ok bool) {
	name, rest, ok = cutString(body)
	if !ok {
		return nil, nil, nil, false
	}
	sql, types, ok := cutString(rest)
	if !ok || len(types) < 2 || len(types) != 2+4*int(binary.BigEndian.Uint16(types)) {
		return nil, nil, nil, false
	}
	return name, sql, rest, true
}

// onServer is a statement as one connection has it.
type onServer struct {
	parse unique.Handle[string]
	name  string
	// confirmed: the server has answered the Parse, which was sent in batch. One of an
	// earlier batch may have been skipped, after an error.
	confirmed bool
	batch     int
}

// statements are those of one connection, the most recently used one first.
type statements struct {
	order list.List // of *onServer
	by    map[unique.Handle[string]]*list.Element
}

func (s *statements) use(parse unique.Handle[string]) *onServer {
	e := s.by[parse]
	if e == nil {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*onServer)
}

// add makes room for a statement, and returns who gave way.
func (s *statements) add(parse unique.Handle[string], batch int) (added, gone *onServer) {
	if s.by == nil {
		s.by = make(map[unique.Handle[string]]*list.Element)
	}
	if len(s.by) >= preparedAtMost {
		gone = s.order.Back().Value.(*onServer)
		s.forget(gone)
	}
	added = &onServer{parse: parse, name: namePrefix + strconv.FormatUint(lastName.Add(1), 10), batch: batch}
	s.by[parse] = s.order.PushFront(added)
	return added, gone
}

// forget removes a statement, unless another has taken its place.
func (s *statements) forget(o *onServer) {
	if e := s.by[o.parse]; e != nil && e.Value.(*onServer) == o {
		s.order.Remove(e)
		delete(s.by, o.parse)
	}
}

// reserved tells whether a name is of the door's own, or of pgx's, which prepares
// statements for Go programs on the same connections.
func reserved(name []byte) bool {
	return strings.HasPrefix(text(name), namePrefix) || strings.HasPrefix(text(name), "stmtcache_") ||
		strings.HasPrefix(text(name), "stmt_")
}
