package pools

import "context"

// Batch marks the acquires that are made with the returned context as batch work: work
// over many workspaces that nobody sits and waits for. Others' acquires go before them;
// together they hold at most Config.BatchShare of the workspaces' connections, and the
// ones that they alone have used make room first. Config.AcquireTimeout does not bound
// them, only ctx does. For System it means nothing but that.
func Batch(ctx context.Context) context.Context {
	if batchOf(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, batchKey{}, &batchWork{})
}

type batchKey struct{}

// batchWork is what Acquire finds in a context that Batch or ForEach has made.
type batchWork struct {
	// held has room for one, and has the leases that ForEach gives back at the end of a
	// workspace's work; nil: nobody does.
	held chan []*Conn
}

// batchOf is nil for interactive work.
func batchOf(ctx context.Context) *batchWork {
	b, _ := ctx.Value(batchKey{}).(*batchWork)
	return b
}

// hold remembers a lease until it ends.
func (b *batchWork) hold(conn *Conn) {
	if b == nil || b.held == nil {
		return
	}
	held := <-b.held
	still := held[:0]
	for _, c := range held {
		if !c.ended() {
			still = append(still, c)
		}
	}
	clear(held[len(still):])
	b.held <- append(still, conn)
}

// release gives back what is still held.
func (b *batchWork) release() {
	held := <-b.held
	for _, c := range held {
		c.Release()
	}
	b.held <- nil
}
