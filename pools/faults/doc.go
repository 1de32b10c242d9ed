// Package faults makes happen, to a real server and with traffic running, what
// goes wrong in production, and checks what must hold all the same. It has tests
// only.
//
//	go test ./pools/faults                     each fault lasts a second
//	go test ./pools/faults -long               each fault lasts ten seconds
//	... -report ../../docs/reliability.md      what it shows is written there
//	... -run Soak -soak 30m -timeout 40m -soak-chart ../../docs/soak.svg
//
// A scene is one fault:
//
//	open   traffic   fault begins         fault ends       traffic   close
//	 |-------|-----------|====================|-- fill -------|--------|
//	                      requests are counted  the whole budget
//	                      by what they came to  is lent at once
//
// What must hold in each of them (the short form allows two seconds more, because it
// runs beside other packages' tests):
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
