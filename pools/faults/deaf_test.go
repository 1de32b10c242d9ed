package faults

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// parkingLot is connections that nobody accepts, and that leave no room for more:
// the system drops what asks for another one, as a host does that is gone.
type parkingLot struct {
	wire   *wire
	parked []net.Conn
}

// goDeaf returns when a new connection hangs.
func (w *wire) goDeaf(t *testing.T) *parkingLot {
	lot := &parkingLot{wire: w}
	w.update(func() { w.deaf = true })
	w.backlog(t, 0)
	for {
		conn, err := net.DialTimeout("tcp", w.listener.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return lot
		}
		lot.parked = append(lot.parked, conn)
	}
}

func (lot *parkingLot) clear(t *testing.T) {
	for _, conn := range lot.parked {
		_ = conn.Close()
	}
	lot.wire.backlog(t, 100)
	lot.wire.update(func() { lot.wire.deaf = false })
}

// backlog sets how many connections may wait to be accepted.
func (w *wire) backlog(t *testing.T, n int) {
	raw, err := w.listener.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), n) }))
	must(t, err)
}

// startToxiproxy starts its proxy as it is, and returns its port.
func startToxiproxy(t *testing.T) int {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled)
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, "proxy", "127.0.0.1:0", fmt.Sprintf("%s:%d", server.Host, server.Port))
	must(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	// Start returns before the last of the proxy's own goroutines begins, and what a test
	// finds afterwards is compared with what was there before.
	if !eventually(mustHappen, func() bool {
		stacks := make([]byte, 1<<20)
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("toxiproxy/v2.(*Proxy).freeBlocker("))
	}) {
		t.Fatal("toxiproxy has no such goroutine any more: look at proxy.go")
	}
	_, port, err := net.SplitHostPort(proxy.Listen)
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	return n
}
