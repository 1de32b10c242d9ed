// Package bench runs one workload against several ways to reach many databases,
// and compares what came of it.
//
// A [setting] is the server with a database for each workspace. A strategy opens a
// pool on it and has a turn: workers send requests, of the same kind and for the
// same workspaces whatever the strategy, and the server counts the connections
// (turn.go, drive.go, worker.go). In each round every strategy has one turn with
// each workload, and the rounds' order differs (run.go). What the rounds came to
// is a [Report] for each workload.
//
// Every turn has a trace of its acquires and releases, from which the hit ratios
// of an exact LRU and of Belady's optimum follow (trace.go, hit_ratio.go).
//
// The other strategies are to do their best: what they cannot help is counted,
// and what is a matter of setting them up is set up in their favour. Each says
// how.
package bench
