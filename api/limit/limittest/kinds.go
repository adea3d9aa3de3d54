package limittest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"weir/api/limit"
)

// A Kind is a way to limit. Each keeps a promise, though not that of the token
// bucket; programs that work out what an API does are tested with them.
//
// Where a kind counts so many in a window, that is the capacity, in the time in
// which the rate brings it: 5/s,capacity=10 is 10 in 2 s.
type Kind struct {
	Name string // e.g. "sliding log"
	What string
	New  Factory
}

// Kinds are the ways to limit.
var Kinds = []Kind{
	{"token bucket", "the pure step, under a lock", tokenBucket},
	{"fixed window", "so many in each window of the clock", FixedWindow(0)},
	{"sliding log", "so many in any window, by a list of when each was", slidingLog},
	{"sliding counter", "this window's count plus a share of the last one's", slidingCounter},
	{"leaky queue", "evenly spaced at the rate: each waits for its turn, and is throttled when capacity are waiting", newLeakyQueue},
	{"concurrency", "capacity at once, each for as long as capacity tokens take to come", newConcurrency},
	{"several limits", "the promised bucket, and one of a sixth of its rate and ten times its capacity: 10/s and 100/m", severalLimits},
	{"none", "everybody is admitted", noLimit},
}

// steady is a clock that does not step back, for use under a lock.
func steady(clock *Clock) (now func() int64) {
	last := int64(0)
	return func() int64 {
		last = max(last, clock.Now())
		return last
	}
}

func tokenBucket(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states := buckets{}
	return serial(l, func(key string, cost int64) limit.Decision {
		return states.take(l, key, clock.Now(), cost)
	})
}

// window is how long a limiter that counts capacity tokens a window makes it, in µs.
func window(l limit.Limit) int64 {
	if l.Rate.Tokens == 0 {
		return 1 << 52 // one that does not end: 143 years, times 1,000 tokens without overflow
	}
	return (l.Capacity*l.Rate.Seconds*second + l.Rate.Tokens - 1) / l.Rate.Tokens
}

// counted is d with what a limiter that counts whole tokens says beside it.
func counted(l limit.Limit, d limit.Decision, left, cost, retry, reset int64) limit.Decision {
	d.Remaining, d.ResetAfter = max(left, 0)*limit.MicroToken, time.Duration(reset)*time.Microsecond
	switch {
	case d.Allowed:
	case cost > l.Capacity, l.Rate.Tokens == 0:
		d.RetryAfter = limit.Never
	default:
		d.RetryAfter = time.Duration(retry) * time.Microsecond
	}
	return d
}

// FixedWindow counts so many in each window. Windows begin at whole multiples of
// their length since the epoch, and phase after that.
func FixedWindow(phase time.Duration) Factory {
	type count struct{ window, tokens int64 }
	return func(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
		counts, width, now := map[string]count{}, window(l), steady(clock)
		return serial(l, func(key string, cost int64) limit.Decision {
			at := now()
			since := at - phase.Microseconds()
			c := counts[key]
			if since/width != c.window {
				c = count{window: since / width}
			}
			d := limit.Decision{DecidedAt: at, Allowed: c.tokens+cost <= l.Capacity}
			if d.Allowed {
				c.tokens += cost
			}
			counts[key] = c
			toEdge := width - since%width
			return counted(l, d, l.Capacity-c.tokens, cost, toEdge, toEdge)
		})
	}
}

func slidingLog(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	type entry struct{ at, cost int64 }
	logs, width, now := map[string][]entry{}, window(l), steady(clock)
	return serial(l, func(key string, cost int64) limit.Decision {
		at, log := now(), logs[key]
		for len(log) > 0 && log[0].at+width <= at {
			log = log[1:]
		}
		used := int64(0)
		for _, e := range log {
			used += e.cost
		}
		d := limit.Decision{DecidedAt: at, Allowed: used+cost <= l.Capacity}
		retry, reset := int64(0), int64(0)
		if d.Allowed && cost > 0 {
			log = append(log, entry{at, cost})
			used += cost
		}
		over := used + cost - l.Capacity // what has to leave first
		for _, e := range log {
			reset = e.at + width - at
			if over > 0 {
				retry = reset
			}
			over -= e.cost
		}
		logs[key] = log
		return counted(l, d, l.Capacity-used, cost, retry, reset)
	})
}

// slidingCounter takes the last window's requests to have been spread evenly, and
// counts as many of them as would still be within a window's length.
func slidingCounter(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	type count struct{ window, before, tokens int64 }
	counts, width, now := map[string]count{}, window(l), steady(clock)
	return serial(l, func(key string, cost int64) limit.Decision {
		at := now()
		c := counts[key]
		switch at / width {
		case c.window:
		case c.window + 1:
			c = count{window: c.window + 1, before: c.tokens}
		default:
			c = count{window: at / width}
		}
		left := width - at%width
		used := (c.before*left + width - 1) / width
		d := limit.Decision{DecidedAt: at, Allowed: used+c.tokens+cost <= l.Capacity}
		retry := left // at this window's end; later or earlier below
		switch {
		case d.Allowed:
			c.tokens += cost
		case c.before > 0 && c.tokens+cost <= l.Capacity:
			retry = left - (l.Capacity-c.tokens-cost)*width/c.before
		case c.tokens > 0:
			retry += max(0, width-(l.Capacity-cost)*width/c.tokens)
		}
		counts[key] = c
		return counted(l, d, l.Capacity-used-c.tokens, cost, retry, left+width)
	})
}

// severalLimits admits what all its buckets admit, and charges all or none.
func severalLimits(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	slower := limit.Limit{Capacity: 10 * l.Capacity, Rate: limit.Rate{Tokens: l.Rate.Tokens, Seconds: 6 * l.Rate.Seconds}}
	near, far, now := buckets{}, buckets{}, steady(clock)
	return serial(l, func(key string, cost int64) limit.Decision {
		at := now()
		d, s := l.Take(near[key], at, cost)
		if other, t := slower.Take(far[key], at, cost); other.Allowed && d.Allowed {
			near[key], far[key] = s, t
			d.Remaining = min(d.Remaining, other.Remaining)
		} else if !other.Allowed && (d.Allowed || other.RetryAfter > d.RetryAfter) && d.RetryAfter != limit.Never {
			d = other
		}
		return d
	})
}

func noLimit(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	return serial(l, func(_ string, _ int64) limit.Decision {
		return limit.Decision{Allowed: true, Remaining: l.Capacity * limit.MicroToken, DecidedAt: clock.Now()}
	})
}

// A leakyQueue lets one token through every interval. Its waits are real, also
// under a Clock that is moved by hand.
type leakyQueue struct {
	mu       sync.Mutex
	limit    limit.Limit
	now      func() int64
	interval int64            // µs
	free     map[string]int64 // when the next turn is, µs since the epoch
}

func newLeakyQueue(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	return &leakyQueue{
		limit: l, now: steady(clock), free: map[string]int64{},
		interval: window(limit.Limit{Capacity: 1, Rate: l.Rate}),
	}
}

// Limit returns how many may wait, and how fast they go.
func (q *leakyQueue) Limit() limit.Limit { return q.limit }

// Take waits for its turn. One that ctx ends has had it.
func (q *leakyQueue) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if err := refused(ctx, cost); err != nil {
		return limit.Decision{}, err
	}
	q.mu.Lock()
	at := q.now()
	turn, room := max(at, q.free[key]), q.limit.Capacity*q.interval
	d := limit.Decision{DecidedAt: at, Allowed: turn-at <= room}
	if d.Allowed {
		q.free[key] = turn + cost*q.interval
	}
	q.mu.Unlock()
	waiting := (turn - at + q.interval - 1) / q.interval
	d = counted(q.limit, d, q.limit.Capacity-waiting, cost, turn-at-room, turn-at)
	if d.Allowed {
		return d, sleep(ctx, time.Duration(turn-at)*time.Microsecond)
	}
	return d, nil
}

// A concurrency limiter has so many slots. It cannot know when one is free, so it
// promises no Retry-After.
type concurrency struct {
	mu    sync.Mutex
	limit limit.Limit
	clock *Clock
	hold  time.Duration
	taken map[string]int64
}

func newConcurrency(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	return &concurrency{limit: l, clock: clock, hold: time.Duration(window(l)) * time.Microsecond, taken: map[string]int64{}}
}

// Limit returns how many slots there are, and how many a second they serve.
func (c *concurrency) Limit() limit.Limit { return c.limit }

// Take holds its slots as long as the work would take.
func (c *concurrency) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if err := refused(ctx, cost); err != nil {
		return limit.Decision{}, err
	}
	c.mu.Lock()
	d := limit.Decision{DecidedAt: c.clock.Now(), Allowed: c.taken[key]+cost <= c.limit.Capacity, ResetAfter: limit.Never}
	if d.Allowed {
		c.taken[key] += cost
	} else {
		d.RetryAfter = limit.Never
	}
	d.Remaining = (c.limit.Capacity - c.taken[key]) * limit.MicroToken
	c.mu.Unlock()
	if !d.Allowed || cost == 0 {
		return d, nil
	}
	err := sleep(ctx, c.hold)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken[key] -= cost; c.taken[key] == 0 {
		delete(c.taken, key)
	}
	return d, err
}

// refused is why a take is not even considered.
func refused(ctx context.Context, cost int64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("take: %w", err)
	}
	if cost < 0 {
		return fmt.Errorf("take %d tokens: %w", cost, limit.ErrCost)
	}
	return nil
}

// sleep waits for d, or for ctx to end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("take: %w", ctx.Err())
	}
}
