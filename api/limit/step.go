package limit

import (
	"math"
	"time"
)

// A State is one bucket as it is stored. The zero State is a bucket nobody has
// taken from: full. It is only meaningful together with the limit's
// Rate.Seconds, which it carries so that a limit can change under a live key.
type State struct {
	At      int64 // µs since the epoch of the last charge; 0 for a bucket never charged
	Level   int64 // units at that instant; one token is Seconds × 1,000,000
	Seconds int64 // Rate.Seconds of the limit that wrote it
}

// Take is the token bucket: one decision, and the state after it. Now is in µs
// since the epoch, above 0 and below 2^53 (the year 2255); cost 0 only looks,
// and a cost from -Capacity to -1 gives tokens back, as many as fit. Only an
// admitted take of another cost than 0 changes the state.
//
// The level refills by Rate.Tokens units a microsecond up to the capacity.
// A now before the last charge counts as the last charge (clocks step back),
// so the level never refills twice for the same microsecond.
//
// A changed limit applies at once: the time since the last charge counts at the
// new rate, and a level above the new capacity is cut to it.
//
// The same steps, in the same order, are in lua/token_bucket.lua.
func (l Limit) Take(s State, now, cost int64) (Decision, State) {
	unit, tokens := l.unit(), l.Rate.Tokens
	full := l.Capacity * unit
	level := full
	if s.At != 0 {
		level = s.rescaled(l.Rate.Seconds, full)
		now = max(now, s.At)
		level = refill(level, full, tokens, now-s.At)
	}

	d := Decision{DecidedAt: now}
	switch {
	case cost > l.Capacity:
		d.RetryAfter = Never
	case level >= cost*unit:
		d.Allowed = true
		if cost != 0 {
			level = min(level-cost*unit, full)
			s = State{At: now, Level: level, Seconds: l.Rate.Seconds}
		}
	default:
		d.RetryAfter = wait(cost*unit-level, tokens)
	}
	d.Remaining = level / l.Rate.Seconds
	d.ResetAfter = wait(full-level, tokens)
	return d, s
}

// refill adds tokens × elapsed to level, up to full. It divides before it would
// multiply, since the product may pass 2^63 while the level cannot pass full.
func refill(level, full, tokens, elapsed int64) int64 {
	if tokens == 0 {
		return level
	}
	if elapsed >= ceilDiv(full-level, tokens) {
		return full
	}
	return level + elapsed*tokens
}

// wait is how long until missing units have been refilled, rounded up to whole
// microseconds: a promise kept late by under 1 µs is kept, one made early is not.
func wait(missing, tokens int64) time.Duration {
	switch {
	case missing == 0:
		return 0
	case tokens == 0:
		return Never
	}
	return time.Duration(ceilDiv(missing, tokens)) * time.Microsecond
}

// ceilDiv rounds a/b up. Both are below 2^53, so the sum cannot overflow.
func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// rescaled is the level, at most full, in the units of a limit whose
// Rate.Seconds may differ from the one that stored it, rounded down. It is done
// in doubles because Lua does it in doubles: exact while Level × seconds is
// below 2^53, and within two units, less than two millionths of a token, above.
// The product may pass 2^63, so it is cut to full before it is an integer.
func (s State) rescaled(seconds, full int64) int64 {
	if s.Seconds == seconds {
		return min(s.Level, full)
	}
	level := math.Floor(float64(s.Level) * float64(seconds) / float64(s.Seconds))
	return int64(min(level, float64(full)))
}
