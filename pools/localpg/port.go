package localpg

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// host is the only address the server listens on.
const host = "127.0.0.1"

// The ports to choose from lie below the ranges that Linux (32768) and macOS
// (49152) use for outgoing connections. So while a server is down between
// Shutdown and Resume no outgoing connection takes its port, not even a client
// that dials this very port and would be connected to itself.
const (
	firstPort = 20000
	ports     = 10000
)

// freePort returns a port that was free a moment ago. Another process may take
// it before PostgreSQL does; Start then asks for another one.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := firstPort + rand.IntN(ports)
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("localpg: find a free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("localpg: no free port in 100 tries between %d and %d on %s: %w",
		firstPort, firstPort+ports-1, host, last)
}

// errPortTaken says that another process holds the port.
var errPortTaken = errors.New("another process has taken the port")
