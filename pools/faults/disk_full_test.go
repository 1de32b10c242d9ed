package faults

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

const unlimited = "unlimited"

// limitFiles lets none of the server's processes, nor those that it starts from now
// on, make a file larger than that many bytes. What does not fit is not written,
// which the server takes for a full disk. The server does it to itself, because we
// may be another user.
func limitFiles(t *testing.T, bytes string) {
	t.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Skip("prlimit is not installed: apt-get install util-linux, or the like")
	}
	for range 2 { // those that began meanwhile, too
		pids, err := server.Processes()
		must(t, err)
		list := strings.Trim(fmt.Sprint(pids), "[]")
		admin(t, fmt.Sprintf(`COPY (SELECT) TO PROGRAM 'for p in %s; do prlimit --pid $p --fsize=%s: || test ! -d /proc/$p; done'`, list, bytes))
	}
}
