// Package localpg starts a throwaway PostgreSQL for tests and demos.
//
//	server, err := localpg.Start(ctx, localpg.Options{MaxConnections: 20})
//	if err != nil { ... }
//	defer server.Stop()
//
// The server listens on 127.0.0.1 only, has no unix socket, and asks every
// client for a random password (scram-sha-256). Its data lies in a temporary
// folder, in memory with Options.InMemory, and is not meant to survive a power
// cut: fsync is off.
//
// # What happens when the program dies
//
// Stop ends the server and removes the folder. Without Stop (a panic, a test
// that timed out, Ctrl-C, SIGKILL) a watchdog does the same:
//
//	our program ──pipe──> watchdog (/bin/sh, a session of its own)
//	     │                    │ end of file: the program is gone
//	     │ child              v
//	     └────────────> postmaster (a session of its own), temporary folder
//
// The pipe's write end is held by our program alone, so the kernel closes it
// however the program ends. Both sessions keep the terminal's Ctrl-C away from
// the watchdog and from PostgreSQL: only our program hears it and can drain
// while the server still answers.
//
// # Which PostgreSQL
//
// The folder named by PG_BIN, else the first that holds both initdb and
// postgres: from PATH, then where Debian, Homebrew and RHEL install it (the
// newest version first), else a download by
// github.com/fergusstrange/embedded-postgres.
//
// PostgreSQL refuses to run as root. Started by root, initdb and postgres run
// as the user postgres, or nobody where there is none.
//
// Linux and macOS. Elsewhere Start returns an error.
package localpg
