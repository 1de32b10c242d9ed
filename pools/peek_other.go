//go:build !unix

package pools

// peek finds nothing where sockets cannot be looked into: then Config.HealthCheckAfter
// decides when a connection is tested.
func (c *exactConn) peek() arrived { return nothing }
