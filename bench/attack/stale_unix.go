//go:build unix

package attack

import (
	"net"

	"golang.org/x/sys/unix"
)

// stale reports whether a connection on which nothing is due has been closed by
// the other side, or has something to read.
func stale(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	var (
		one  [1]byte
		seen error
	)
	err = raw.Read(func(fd uintptr) bool {
		_, _, seen = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	return err != nil || seen != unix.EAGAIN
}
