package localpg

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// defaultMaxConnections is PostgreSQL's own default.
const defaultMaxConnections = 100

// Options says how the server differs from the default one. The zero value is
// usable.
type Options struct {
	// MaxConnections is the server's max_connections; 0 means 100. Three of
	// them are reserved for superusers unless Settings changes
	// superuser_reserved_connections.
	MaxConnections int

	// Settings are further lines of postgresql.conf, by name. They win over
	// localpg's own choices, but for those that localpg depends on (address,
	// port, socket, place of data and log): naming one of these is an error.
	Settings map[string]string

	// InMemory keeps the data in memory (/dev/shm) if at least 3 GiB are free
	// there, and otherwise in the folder for temporary files, as usual. In memory,
	// initdb and CREATE DATABASE take a fraction of the time.
	InMemory bool
}

// fast trades durability for speed. A commit still reaches the kernel before
// it is acknowledged (synchronous_commit stays on; without fsync that costs one
// write), so that data survives Shutdown with Immediate and Kill.
var fast = map[string]string{
	"fsync":                           "off",
	"full_page_writes":                "off",
	"autovacuum":                      "off",
	"log_checkpoints":                 "off",
	"max_logical_replication_workers": "0",
	"jit":                             "off",
	"wal_level":                       "minimal",
	"max_wal_senders":                 "0",
	"shared_buffers":                  "16MB",
}

// decided are the settings that the rest of this package relies on, with the
// place to set them instead.
var decided = map[string]string{
	"max_connections":            "use Options.MaxConnections",
	"port":                       "localpg picks a free one",
	"listen_addresses":           "the server listens on 127.0.0.1 only",
	"unix_socket_directories":    "the server has no unix socket",
	"cluster_name":               "it marks the server's processes, so that the right ones are stopped",
	"shared_memory_type":         "the server must leave nothing behind when it is killed",
	"dynamic_shared_memory_type": "the server must leave nothing behind when it is killed",
	"password_encryption":        "the passwords are made for scram-sha-256",
	"logging_collector":          "LogTail reads the server's stderr",
	"log_destination":            "LogTail reads the server's stderr",
	"data_directory":             "the data lies in the temporary folder",
	"config_file":                "the configuration lies in the temporary folder",
	"hba_file":                   "every client needs a password",
	"ident_file":                 "every client needs a password",
	"external_pid_file":          "the server must leave nothing behind when it is killed",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$.]*$`)

// configuration returns the lines that are appended to postgresql.conf, where
// the last line about a setting wins. name becomes the cluster_name.
func (o Options) configuration(name string) (string, error) {
	if o.MaxConnections < 0 {
		return "", fmt.Errorf("localpg: Options.MaxConnections is %d: set a positive number, or 0 for %d",
			o.MaxConnections, defaultMaxConnections)
	}
	settings := maps.Clone(fast)
	for _, key := range slices.Sorted(maps.Keys(o.Settings)) {
		lower := strings.ToLower(key) // PostgreSQL's names have no case
		if !settingName.MatchString(key) {
			return "", fmt.Errorf("localpg: Options.Settings: %q is not the name of a setting", key)
		}
		if why, ok := decided[lower]; ok {
			return "", fmt.Errorf("localpg: Options.Settings: %s is not yours to set: %s", lower, why)
		}
		settings[lower] = o.Settings[key]
	}

	limit := o.MaxConnections
	if limit == 0 {
		limit = defaultMaxConnections
	}
	settings["max_connections"] = strconv.Itoa(limit)
	settings["listen_addresses"] = host
	settings["unix_socket_directories"] = ""
	settings["cluster_name"] = name
	settings["password_encryption"] = "scram-sha-256"
	settings["logging_collector"] = "off"
	settings["log_destination"] = "stderr"
	// Segments in /dev/shm would outlive a SIGKILL; files in the data folder
	// are removed with it.
	settings["dynamic_shared_memory_type"] = "mmap"

	quote := strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`)
	var lines strings.Builder
	lines.WriteString("\n# Added by localpg.\n")
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&lines, "%s = '%s'\n", key, quote.Replace(settings[key]))
	}
	return lines.String(), nil
}

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
