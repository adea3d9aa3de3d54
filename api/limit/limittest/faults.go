package limittest

import (
	"context"
	"sync"
	"testing"
	"time"

	"weir/api/limit"
)

// A Fault is a limiter that breaks its promise in a way in which limiters in the
// world have broken theirs, with the load that shows it and the check that must
// catch it. Weir's own tests hold every fault against the judge: a judge that
// accuses nobody would pass all tests that only hold it against correct limiters.
type Fault struct {
	Name  string // e.g. "ttl-rounded-down"
	What  string // the fault in a sentence
	Where string // who had it
	Limit string // the promise under which the load shows it, e.g. "10/s,capacity=19"
	Load  Load
	Check Check
	Clock Evidence
	New   Factory
}

// A Load is what shows a fault: a shape, as plans write it, for so long, from so
// many clients in turn.
type Load struct {
	Shape    string // e.g. "burst:30@1500ms"
	Duration time.Duration
	Keys     int // 0: one client
}

// A Check is a part of the judge's verdict, by its name in the JSON.
type Check string

// The checks.
const (
	OverAdmission      Check = "over_admission"
	WrongfulThrottling Check = "wrongful_throttling"
	RetryAfter         Check = "retry_after"
	Headers            Check = "headers"
	Isolation          Check = "isolation"
)

// Evidence is by whose clock alone a check catches a fault.
type Evidence string

// The kinds of evidence.
const (
	Either     Evidence = "either's"     // the client's; or, in sharp mode, the limiter's decision times
	ClientOnly Evidence = "the client's" // the limiter's decision times are absent or false
)

// Faults are the known faults.
//
// Their promises are chosen so that the proof does not depend on how fast the
// machine is: either the bucket refills so slowly that a second more or less is
// a small part of a token, or the excess is many times what a second refills.
var Faults = []Fault{
	{
		Name:  "callers-clock",
		What:  "the time is the caller's, and is written down unseen: a caller whose clock is behind sets the bucket back, and the next one refills it again",
		Where: "Spring Cloud Gateway #1688, #2412",
		Limit: "5/s,capacity=10", Load: Load{"constant:50/s", 2 * time.Second, 0},
		Check: OverAdmission, Clock: ClientOnly, New: callersClock,
	},
	{
		Name:  "lost-update",
		What:  "the level is read, then written: all who read before the first one writes are admitted from the same level",
		Where: "any GET and SET without a lock; mennanov/limiters without its race check",
		Limit: "1/s,capacity=10", Load: Load{"burst:60@1s", time.Second, 0},
		Check: OverAdmission, Clock: Either, New: lostUpdate,
	},
	{
		Name:  "burst-off-by-one",
		What:  "the bucket holds one token more than promised",
		Where: "redis-cell, whose limit is max_burst + 1: #56, #70",
		Limit: "1/m,capacity=10", Load: Load{"constant:20/s", 1500 * time.Millisecond, 0},
		Check: OverAdmission, Clock: Either, New: burstOffByOne,
	},
	{
		Name:  "ttl-rounded-down",
		What:  "the key lives for the time to full in whole seconds, rounded down: it is forgotten early, and the bucket is full for free",
		Where: "throttled v2.15.0 (24 % over); apisix #12605; Redis #15093",
		Limit: "10/s,capacity=19", Load: Load{"burst:30@1400ms", 3 * time.Second, 0},
		Check: OverAdmission, Clock: Either, New: ttlRoundedDown,
	},
	{
		Name:  "double-charge",
		What:  "a reply is lost, here every fourth, the client library sends the take again, and it is charged twice",
		Where: "go-redis' default retries under redis_rate, throttled and ulule/limiter; rate-limit-redis #251",
		Limit: "1/m,capacity=30", Load: Load{"constant:20/s", 2500 * time.Millisecond, 0},
		Check: WrongfulThrottling, Clock: Either, New: doubleCharge,
	},
	{
		Name:  "retry-after-rounded-down",
		What:  "Retry-After is rounded down to whole seconds: who waits as told is throttled again",
		Where: "redis-cell before #58",
		Limit: "20/m,capacity=1", Load: Load{"constant:10/s", 2 * time.Second, 0},
		Check: RetryAfter, Clock: Either, New: retryAfterRoundedDown,
	},
	{
		Name:  "fixed-window",
		What:  "so many in each window of the clock: twice as many around its edge",
		Where: "ulule/limiter, envoyproxy/ratelimit #32, rueidislimiter",
		Limit: "10/s,capacity=10", Load: Load{"edge:20@2s", 2100 * time.Millisecond, 0}, // every second window's edge
		Check: OverAdmission, Clock: Either, New: FixedWindow(0),
	},
	{
		Name:  "sliding-counter",
		What:  "this window's count plus a share of the last one's: never more than the bucket admits, but a bucket refills while this waits for the window to pass",
		Where: "Cloudflare's two counters; upstash ratelimit",
		Limit: "5/s,capacity=10", Load: Load{"constant:40/s", 2500 * time.Millisecond, 0},
		Check: WrongfulThrottling, Clock: Either, New: slidingCounter,
	},
	{
		Name:  "float-drift",
		What:  "time is in floating-point seconds, and what remains is a difference of two large ones: 8 where it is 9",
		Where: "redis_rate v10, go-redis #3404",
		Limit: "10/s,capacity=10", Load: Load{"constant:40/s", time.Second, 20},
		Check: Headers, Clock: Either, New: floatDrift,
	},
	{
		Name:  "own-buckets",
		What:  "three processes behind one balancer, each with a bucket of its own",
		Where: "any in-memory limiter after the second replica; resilience4j #350",
		Limit: "5/s,capacity=10", Load: Load{"constant:50/s", 2 * time.Second, 0},
		Check: OverAdmission, Clock: Either, New: ownBuckets,
	},
	{
		Name:  "fail-open",
		What:  "an error of the store, here for every second take, is an admission",
		Where: "Spring Cloud Gateway, upstash ratelimit after 5 s",
		Limit: "5/s,capacity=10", Load: Load{"constant:50/s", 2 * time.Second, 0},
		Check: OverAdmission, Clock: ClientOnly, New: failOpen,
	},
	{
		Name:  "refill-truncated",
		What:  "the refill since the last take is rounded down to whole tokens, and the time moves on: who asks often enough never gets any",
		Where: "octollm #33",
		Limit: "5/s,capacity=10", Load: Load{"constant:40/s", 2 * time.Second, 0},
		Check: WrongfulThrottling, Clock: Either, New: refillTruncated,
	},
	{
		Name:  "throttled-takes-charge",
		What:  "a throttled take takes its tokens too: who keeps asking is locked out",
		Where: "upstash ratelimit #156; ulule/limiter, rueidislimiter",
		Limit: "5/s,capacity=10", Load: Load{"constant:40/s", 2 * time.Second, 0},
		Check: WrongfulThrottling, Clock: Either, New: throttledTakesCharge,
	},
	{
		Name:  "shared-bucket",
		What:  "clients are told apart by what they share: one's load throttles the others",
		Where: "any limiter by peer address behind a reverse proxy",
		Limit: "1/m,capacity=10", Load: Load{"constant:40/s", 1500 * time.Millisecond, 4},
		Check: Isolation, Clock: Either, New: sharedBucket,
	},
}

// A faulty limiter decides by a function, which is called by one goroutine at a
// time unless it says otherwise.
type faulty struct {
	mu     sync.Mutex
	limit  limit.Limit
	decide func(key string, cost int64) limit.Decision
}

// serial returns a limiter that decides by a function under a lock.
func serial(l limit.Limit, decide func(key string, cost int64) limit.Decision) *faulty {
	f := &faulty{limit: l}
	f.decide = func(key string, cost int64) limit.Decision {
		f.mu.Lock()
		defer f.mu.Unlock()
		return decide(key, cost)
	}
	return f
}

// Limit returns the promise that this limiter breaks.
func (f *faulty) Limit() limit.Limit { return f.limit }

// Take decides. Its errors are limit.ErrCost and ctx's own.
func (f *faulty) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if err := refused(ctx, cost); err != nil {
		return limit.Decision{}, err
	}
	return f.decide(key, cost), nil
}

// buckets are correct token buckets, for what is wrong around them.
type buckets map[string]limit.State

func (b buckets) take(l limit.Limit, key string, now, cost int64) limit.Decision {
	d, after := l.Take(b[key], now, cost)
	b[key] = after
	return d
}

const (
	second = int64(time.Second / time.Microsecond)
	// behind is how far the second host's clock is behind.
	behind = 10 * second
	// trip is the way to a store and back, in which others read.
	trip = 20 * time.Millisecond
)

func callersClock(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, calls := buckets{}, 0
	return serial(l, func(key string, cost int64) limit.Decision {
		now := clock.Now()
		if calls++; calls%2 == 0 {
			now -= behind // the other host asks
		}
		s := states[key]
		s.At = min(s.At, now) // time since the last take is 0 where it would be negative
		d, _ := l.Take(s, now, cost)
		states[key] = limit.State{At: now, Level: d.Remaining * l.Rate.Seconds, Seconds: l.Rate.Seconds}
		return d
	})
}

func lostUpdate(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, mu := buckets{}, sync.Mutex{}
	return &faulty{limit: l, decide: func(key string, cost int64) limit.Decision {
		mu.Lock()
		read := states[key]
		mu.Unlock()
		d, after := l.Take(read, clock.Now(), cost)
		if after == read {
			return d
		}
		time.Sleep(trip)
		mu.Lock()
		states[key] = after
		mu.Unlock()
		return d
	}}
}

func burstOffByOne(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, larger := buckets{}, l
	larger.Capacity++
	return serial(l, func(key string, cost int64) limit.Decision {
		return states.take(larger, key, clock.Now(), cost)
	})
}

func ttlRoundedDown(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, expires := buckets{}, map[string]int64{}
	return serial(l, func(key string, cost int64) limit.Decision {
		now := clock.Now()
		if now >= expires[key] {
			delete(states, key)
		}
		d := states.take(l, key, now, cost)
		if d.Allowed && cost > 0 {
			ttl := max(d.ResetAfter.Truncate(time.Second), time.Second) // 0 is no TTL
			expires[key] = now + ttl.Microseconds()
		}
		return d
	})
}

func doubleCharge(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, calls := buckets{}, 0
	return serial(l, func(key string, cost int64) limit.Decision {
		if calls++; calls%4 == 0 {
			states.take(l, key, clock.Now(), cost) // carried out, and nobody has heard of it
		}
		return states.take(l, key, clock.Now(), cost)
	})
}

func retryAfterRoundedDown(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states := buckets{}
	return serial(l, func(key string, cost int64) limit.Decision {
		d := states.take(l, key, clock.Now(), cost)
		if d.RetryAfter != limit.Never {
			d.RetryAfter = d.RetryAfter.Truncate(time.Second)
		}
		return d
	})
}

// floatDrift is redis_rate's script, line by line, in the same doubles.
func floatDrift(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	const jan2017 = 1483228800
	stored := map[string]float64{}
	interval := float64(l.Rate.Seconds) / float64(l.Rate.Tokens)
	offset := interval * float64(l.Capacity)
	wait := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
	return serial(l, func(key string, cost int64) limit.Decision {
		us := clock.Now()
		now := float64(us/second-jan2017) + float64(us%second)/1e6
		arrival := max(stored[key], now)
		next := arrival + interval*float64(cost)
		spare := now - (next - offset)
		d := limit.Decision{DecidedAt: us}
		remaining := spare / interval
		if remaining < 0 {
			d.RetryAfter, d.ResetAfter = wait(-spare), wait(arrival-now)
			return d
		}
		stored[key] = next
		d.Allowed, d.Remaining, d.ResetAfter = true, int64(remaining)*limit.MicroToken, wait(next-now)
		return d
	})
}

func ownBuckets(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	processes, calls := [3]buckets{{}, {}, {}}, 0
	return serial(l, func(key string, cost int64) limit.Decision {
		calls++
		return processes[calls%len(processes)].take(l, key, clock.Now(), cost)
	})
}

func failOpen(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states, calls := buckets{}, 0
	return serial(l, func(key string, cost int64) limit.Decision {
		if calls++; calls%2 == 0 {
			return limit.Decision{Allowed: true, Remaining: l.Capacity * limit.MicroToken} // and no time: nobody decided
		}
		return states.take(l, key, clock.Now(), cost)
	})
}

func refillTruncated(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states := buckets{}
	return serial(l, func(key string, cost int64) limit.Decision {
		now := clock.Now()
		s := states[key]
		if s.At != 0 {
			tokens := (now - s.At) * l.Rate.Tokens / (l.Rate.Seconds * second)
			s = limit.State{At: now, Level: s.Level + tokens*l.Rate.Seconds*limit.MicroToken, Seconds: l.Rate.Seconds}
		}
		d, after := l.Take(s, now, cost)
		states[key] = after
		return d
	})
}

func throttledTakesCharge(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states := buckets{}
	return serial(l, func(key string, cost int64) limit.Decision {
		d := states.take(l, key, clock.Now(), cost)
		if !d.Allowed && d.RetryAfter != limit.Never {
			s := states[key] // the level may be below 0, and the step then waits for longer
			s.Level -= cost * l.Rate.Seconds * limit.MicroToken
			states[key] = s
			d.Remaining = 0
		}
		return d
	})
}

func sharedBucket(_ testing.TB, l limit.Limit, clock *Clock) limit.Limiter {
	states := buckets{}
	return serial(l, func(_ string, cost int64) limit.Decision {
		return states.take(l, "10.0.0.1", clock.Now(), cost)
	})
}
