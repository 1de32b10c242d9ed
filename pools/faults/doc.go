// Package faults makes happen, to a real server and with traffic running, what
// goes wrong in production, and checks what must hold all the same. It has tests
// only.
//
//	go test ./pools/faults                          a fault of each kind, for a moment
//	TENANTPOOL_TEST_LONG=1 go test ./pools/faults   all faults, five seconds each, and a soak
//	... -report ../../docs/reliability.md           what it shows is written there
//	... -run ThreeProcessesShare -replicas 60s      three processes on one budget, so long each
//	... -run Soak -soak 30m -timeout 40m -soak-chart ../../docs/soak.svg
//
// A scene is one fault:
//
//	open   traffic   fault begins         fault ends       traffic   close
//	 |-------|-----------|====================|-- fill -------|--------|
//	                      requests are counted  the whole budget
//	                      by what they came to  is lent at once
//
// A fault lasts until a request has failed because of it, so no test depends on how
// fast the machine is.
//
// Where three processes share one budget, the test binary is their program, too: it obeys
// orders on stdin (replicas_process_test.go). The server lets the role have exactly the
// budget. Traffic wanders from one to the next, while they, their control sessions or the
// server die; in the end each can have all that the others leave, so that no slot is lost.
//
// What must hold in each of them (a machine with slow dials has more time, and so has
// the short form, because it runs beside other packages' tests; see slack):
//
//   - No request takes longer than its deadline and a second.
//   - Every Acquire is answered once.
//   - The server never has more of our backends than the budget. (Its max_connections
//     leaves room for not one more, so that it would refuse it, too.)
//   - Five seconds after the fault the whole budget can be lent at once, and no
//     request fails any more.
//   - No request is given another workspace's connection, or another one's answer.
//   - Errors name their cause, and hold no secret.
//   - When the manager is closed, its goroutines, its backends and its memory are gone.
package faults
