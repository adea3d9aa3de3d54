// Package limit holds the words of rate limiting, and the one pure step of the
// token bucket that every limiter here is built on or tested against.
//
// A [Limit] is a promise: capacity (the burst) and rate (the refill), per key.
// A [Limiter] answers [Limiter.Take] with a [Decision]. [Limit.Take] is the
// arithmetic: state, time and cost in, decision and new state out. It has no
// clock and does no I/O, so it can be fuzzed, replayed and proved equal to
// lua/token_bucket.lua.
//
// # Exactness
//
// The level of a bucket is an integer. With a rate of Tokens per Seconds in
// lowest terms, one token is Seconds × 1,000,000 units and one microsecond adds
// exactly Tokens units. No division happens while refilling, so nothing drifts.
// [Limit.Validate] keeps every product below 2^53, so that a Lua number (an IEEE
// double) and an int64 compute the same.
package limit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Never is the RetryAfter of a request that no wait can help (it costs more
// than the capacity, or the rate is 0), and the ResetAfter of a bucket that
// never refills.
const Never time.Duration = -1

// MicroToken is how many units of Decision.Remaining make one token.
const MicroToken = 1_000_000

// A Limit is what an API promises each key: at most Capacity tokens at once,
// refilled at Rate. A bucket starts full.
type Limit struct {
	Capacity int64 // tokens the bucket holds, e.g. 20; at least 1
	Rate     Rate  // tokens it gains, e.g. 5/s
}

// A Decision is what a limiter said about one take.
type Decision struct {
	Allowed    bool
	Remaining  int64         // micro-tokens left after this decision, e.g. 4_250_000 is 4.25 tokens
	RetryAfter time.Duration // wait until this cost could be admitted; 0 allowed or retry now; Never
	ResetAfter time.Duration // wait until the bucket is full again; 0 full; Never
	DecidedAt  int64         // when, in µs since the Unix epoch by the limiter's own clock; never before the key's last charge; 0 a leased token: by no clock
}

// A Limiter admits or throttles takes. Implementations are safe for concurrent
// use. Being throttled is a decision, never an error: an error means that the
// backend gave no answer, and then whether the take was charged is unknown.
type Limiter interface {
	// Take asks for cost tokens from the bucket of key. Cost 0 asks for the
	// state without changing it; a negative cost is ErrCost. A throttled take
	// charges nothing. It keeps ctx's deadline, with ctx's error inside; whoever
	// waits on a network may notice a cancellation only at its own timeout.
	Take(ctx context.Context, key string, cost int64) (Decision, error)
	// Limit returns the promise this limiter keeps.
	Limit() Limit
}

// ErrCost reports a negative cost.
var ErrCost = errors.New("cost is negative")

// maxExact is where integers stop being exact in a Lua number.
const maxExact = int64(1) << 53

// Validate reports whether every step of this limit is exact, and says what
// would be right when it is not.
func (l Limit) Validate() error {
	if l.Capacity < 1 {
		return fmt.Errorf("capacity %d: want at least 1 token", l.Capacity)
	}
	if err := l.Rate.validate(); err != nil {
		return err
	}
	if room := (maxExact - 1 - l.Rate.Tokens) / l.unit(); l.Capacity > room {
		return fmt.Errorf("capacity %d with rate %s: level would pass 2^53 and lose exactness (want capacity at most %d)",
			l.Capacity, l.Rate, room)
	}
	return nil
}

// unit is how many level units one token takes.
func (l Limit) unit() int64 { return l.Rate.Seconds * MicroToken }

// String writes the limit as [Parse] reads it, e.g. "5/s,capacity=20".
func (l Limit) String() string { return fmt.Sprintf("%s,capacity=%d", l.Rate, l.Capacity) }

// MarshalText writes the limit as [Parse] reads it.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what [Parse] reads.
func (l *Limit) UnmarshalText(text []byte) (err error) {
	*l, err = Parse(string(text))
	return err
}
