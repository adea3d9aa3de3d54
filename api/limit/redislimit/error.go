package redislimit

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// An Error is a call that Redis did not answer as asked. It never holds the
// key, which may be a secret.
type Error struct {
	Op string // "take", "load script", "check script" or "reset"
	// Unknown says that the call may have been carried out: it was sent, and
	// no answer came. When false, nothing was charged.
	Unknown bool
	Err     error // what go-redis or the network said
}

// Error says what failed, why, whether it may have been charged, and the way
// out where the cause tells one.
func (e *Error) Error() string {
	text := "redis: " + e.Op + ": " + e.Err.Error()
	if e.Unknown {
		text += "; whether it was carried out is unknown"
	}
	if way := wayOut(e.Err); way != "" {
		text += " (" + way + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// mayHaveRun reports whether a command that failed with err may have been
// carried out. An error reply is an answer: the script stopped before it wrote.
// Without a connection nothing was sent.
func mayHaveRun(err error) bool {
	if reply := redis.Error(nil); errors.As(err, &reply) {
		return false
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	for _, unsent := range []error{redis.ErrPoolTimeout, redis.ErrPoolExhausted, redis.ErrClosed} {
		if errors.Is(err, unsent) {
			return false
		}
	}
	return true
}

// wayOut is what a person can do about err, where that is known.
func wayOut(err error) string {
	op := (*net.OpError)(nil)
	switch {
	case errors.Is(err, ErrBusy):
		return "Redis is slower than what is asked of it: ask less, or see why it is slow"
	case redis.IsAuthError(err):
		return "put user and password into REDIS_URL: redis://user:password@host:port/0"
	case redis.IsLoadingError(err):
		return "Redis is still reading its data: wait until it has"
	case redis.IsReadOnlyError(err):
		return "this is a replica: point REDIS_URL at the primary"
	case redis.IsOOMError(err):
		return "Redis is at its maxmemory: raise it"
	case strings.Contains(err.Error(), "WRONGTYPE"): // within a script it is not always the prefix
		return "the prefix holds keys of something else: choose another prefix"
	case errors.As(err, &op) && op.Op == "dial":
		return "is Redis running, and is REDIS_URL right?"
	case errors.Is(err, io.EOF): // go-redis keeps what Redis said before it hung up to itself
		return "Redis closed the connection: is it stopping, in protected mode, or at its maxclients?"
	}
	return ""
}
