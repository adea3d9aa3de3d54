//go:build !unix

package attack

import "net"

// stale cannot look here: a request on a connection that the server has closed
// fails.
func stale(net.Conn) bool { return false }
