package attack

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepExactly blocks the thread. Go's own timers are checked by a thread that
// waits for the network in whole milliseconds when there is nothing to run.
func sleepExactly(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&left, nil) // a signal may cut it short: the caller looks at the clock
}
