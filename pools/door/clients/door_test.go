package clients

import "testing"

// openDoor is for when there is one.
func openDoor(t *testing.T, pooling string) (host string, port int) {
	t.Helper()
	t.Skip("there is no door yet")
	return "", 0
}
