package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Address is one server of Config.Host.
type Address struct {
	Host string // a name, an IP address, or the folder of a Unix socket
	Port int
}

// Addresses are the servers of Config.Host, in the order in which they are tried. The
// Config must be valid.
func (c Config) Addresses() []Address {
	list, _ := c.addresses()
	return list
}

// HostsAndPorts are the Addresses as libpq's host and port.
func (c Config) HostsAndPorts() (hosts, ports string) {
	var h, p []string
	for _, a := range c.Addresses() {
		h, p = append(h, a.Host), append(p, strconv.Itoa(a.Port))
	}
	return strings.Join(h, ","), strings.Join(p, ",")
}

func (c Config) addresses() ([]Address, error) {
	if err := required("DB_HOST", c.Host); err != nil {
		return nil, err
	}
	var list []Address
	for element := range strings.SplitSeq(c.Host, ",") {
		host, port, own := cutPort(element)
		a := Address{host, c.Port}
		if own {
			n, err := strconv.Atoi(port)
			if err != nil || n < 1 || n > 65535 {
				return nil, &ConfigError{"DB_HOST", fmt.Sprintf("%q", c.Host), "a host, or host:port with a port from 1 to 65535"}
			}
			a.Port = n
		}
		if strings.ContainsAny(a.Host, "[]") && !isPath(a.Host) {
			return nil, &ConfigError{"DB_HOST", fmt.Sprintf("%q", c.Host), "brackets around an IPv6 address only, as in [::1] or [::1]:5432"}
		}
		// An empty one would silently mean the socket, or the server, of this machine.
		if a.Host == "" {
			return nil, &ConfigError{"DB_HOST", fmt.Sprintf("%q", c.Host), "one host, or several with a single comma between each two"}
		}
		list = append(list, a)
	}
	return list, nil
}

// cutPort splits host:port and [host]:port; own tells whether there is a port. The
// brackets are no part of the host. The colons of a bare IPv6 address, and those in the
// path of a Unix socket, end no host.
func cutPort(element string) (host, port string, own bool) {
	if inner, bracketed := strings.CutPrefix(element, "["); bracketed {
		if host, alone := strings.CutSuffix(inner, "]"); alone {
			return host, "", false
		}
		host, port, own = strings.Cut(inner, "]:")
	} else if strings.Count(element, ":") == 1 && !isPath(element) {
		host, port, own = strings.Cut(element, ":")
	}
	if !own {
		return element, "", false
	}
	return host, port, true
}

// isPath tells whether the host is the folder of a Unix socket.
func isPath(host string) bool { return strings.ContainsAny(host, `/\`) }
