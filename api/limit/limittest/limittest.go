// Package limittest holds the contract that every limiter must pass, and what
// tests of limiters need: a clock to move, a private Redis, a network that
// loses a reply.
//
//	func TestContract(t *testing.T) {
//		limittest.Run(t, func(tb testing.TB, l limit.Limit, clock *limittest.Clock) limit.Limiter {
//			limiter, err := memlimit.New(l, memlimit.Config{Clock: clock.Now})
//			if err != nil {
//				tb.Fatal(err)
//			}
//			return limiter
//		})
//	}
//
// No case depends on how fast the machine is: a case either moves the clock
// itself, or judges decisions by the time they say they were made at.
package limittest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/limit"
)

// A Clock stands still until it is moved. It is safe for concurrent use.
type Clock struct{ us atomic.Int64 }

// NewClock returns a clock that shows an instant in October 2025.
func NewClock() *Clock {
	c := new(Clock)
	c.us.Store(1_760_000_000_000_000)
	return c
}

// Now returns µs since the Unix epoch. A nil Clock shows the system's time, so
// that clock.Now can be passed on without asking.
func (c *Clock) Now() int64 {
	if c == nil {
		return time.Now().UnixMicro()
	}
	return c.us.Load()
}

// Move moves the clock by d, in whole µs; back when d is negative.
func (c *Clock) Move(d time.Duration) { c.us.Add(d.Microseconds()) }

// A Factory makes a limiter for one case, with every bucket full. Where clock
// is nil the limiter goes by its own clock, as in production.
type Factory func(tb testing.TB, l limit.Limit, clock *Clock) limit.Limiter

// Run holds the limiters of the factory to the contract of limit.Limiter.
func Run(t *testing.T, factory Factory) {
	for _, c := range []struct {
		name  string
		limit string
		check func(t *testing.T, s *subject)
	}{
		{"a new bucket admits its burst", "1/s,capacity=3", checkBurst},
		{"a bucket refills at its rate", "2/s,capacity=3", checkRefill},
		{"a rate may be a fraction", "10/m,capacity=10", checkRational},
		{"a take has a cost", "1/s,capacity=5", checkCost},
		{"a cost above the capacity never succeeds", "1/s,capacity=5", checkNever},
		{"rate 0 never refills", "0/s,capacity=2", checkRateZero},
		{"retry after is exact", "3/s,capacity=7", checkRetry},
		{"reset after is exact", "7/m,capacity=4", checkReset},
		{"keys are independent", "1/s,capacity=2", checkKeys},
		{"the clock may step back", "1/s,capacity=2", checkClockBack},
		{"every decision is the pure step's, whole rate", "5/s,capacity=20", checkAgainstStep},
		{"every decision is the pure step's, rational rate", "7/m,capacity=3", checkAgainstStep},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, newSubject(t, factory, c.limit, NewClock()))
		})
	}
	for _, c := range []struct {
		name  string
		limit string
		check func(t *testing.T, s *subject)
	}{
		{"many callers of one key share one bucket", "0/s,capacity=100", checkConcurrent},
		{"a negative cost is refused", "0/s,capacity=2", checkNegative},
		{"a cancelled context charges nothing", "0/s,capacity=2", checkCancelled},
		{"retry after is kept by the limiter's own clock", "200/s,capacity=1", checkOwnClock},
		{"every decision is the pure step's at the time it names", "2000/s,capacity=3", checkOwnStep},
		{"odd keys are keys", "0/s,capacity=1", checkOddKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, newSubject(t, factory, c.limit, nil))
		})
	}
}

// A subject is a limiter in one case, and how to speak to it.
type subject struct {
	limit   limit.Limit
	limiter limit.Limiter
	clock   *Clock
}

func newSubject(t *testing.T, factory Factory, text string, clock *Clock) *subject {
	t.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{limit: l, limiter: factory(t, l, clock), clock: clock}
	if got := s.limiter.Limit(); got != l {
		t.Fatalf("Limit() = %s, want %s", got, l)
	}
	return s
}

func (s *subject) take(t *testing.T, key string, cost int64) limit.Decision {
	t.Helper()
	d, err := s.limiter.Take(context.Background(), key, cost)
	if err != nil {
		t.Fatalf("Take(%q, %d): %v", key, cost, err)
	}
	return d
}

// want takes and compares all of the decision but its time.
func (s *subject) want(t *testing.T, cost int64, want limit.Decision) {
	t.Helper()
	got := s.take(t, "alice", cost)
	got.DecidedAt = 0
	if got != want {
		t.Fatalf("%s: Take(cost %d)\n got %+v\nwant %+v", s.limit, cost, got, want)
	}
}

func admitted(remaining float64, reset time.Duration) limit.Decision {
	return limit.Decision{Allowed: true, Remaining: int64(remaining * limit.MicroToken), ResetAfter: reset}
}

func throttled(remaining float64, retry, reset time.Duration) limit.Decision {
	return limit.Decision{Remaining: int64(remaining * limit.MicroToken), RetryAfter: retry, ResetAfter: reset}
}

func checkBurst(t *testing.T, s *subject) {
	s.want(t, 1, admitted(2, time.Second))
	s.want(t, 1, admitted(1, 2*time.Second))
	s.want(t, 1, admitted(0, 3*time.Second))
	s.want(t, 1, throttled(0, time.Second, 3*time.Second))
	s.want(t, 1, throttled(0, time.Second, 3*time.Second)) // the one before charged nothing
}

func checkRefill(t *testing.T, s *subject) {
	s.want(t, 3, admitted(0, 1500*time.Millisecond))
	s.clock.Move(250 * time.Millisecond)
	s.want(t, 1, throttled(0.5, 250*time.Millisecond, 1250*time.Millisecond))
	s.clock.Move(250 * time.Millisecond)
	s.want(t, 1, admitted(0, 1500*time.Millisecond))
	s.clock.Move(time.Hour)
	s.want(t, 0, admitted(3, 0)) // never above the capacity
	s.want(t, 1, admitted(2, 500*time.Millisecond))
}

func checkRational(t *testing.T, s *subject) {
	s.want(t, 10, admitted(0, time.Minute))
	for range 20 { // a float would have drifted
		s.clock.Move(6*time.Second - time.Microsecond)
		s.want(t, 1, throttled(0.999999, time.Microsecond, 54*time.Second+time.Microsecond))
		s.clock.Move(time.Microsecond)
		s.want(t, 1, admitted(0, time.Minute))
	}
}

func checkCost(t *testing.T, s *subject) {
	s.want(t, 0, admitted(5, 0)) // looks
	s.want(t, 3, admitted(2, 3*time.Second))
	s.want(t, 3, throttled(2, time.Second, 3*time.Second))
	s.want(t, 2, admitted(0, 5*time.Second))
	s.want(t, 0, admitted(0, 5*time.Second))
	s.want(t, 5, throttled(0, 5*time.Second, 5*time.Second))
}

func checkNever(t *testing.T, s *subject) {
	s.want(t, 6, throttled(5, limit.Never, 0))
	s.want(t, 1<<62, throttled(5, limit.Never, 0))
	s.want(t, 5, admitted(0, 5*time.Second))
	s.want(t, 6, throttled(0, limit.Never, 5*time.Second))
}

func checkRateZero(t *testing.T, s *subject) {
	s.want(t, 0, admitted(2, 0))
	s.want(t, 2, admitted(0, limit.Never))
	s.clock.Move(1000 * time.Hour)
	s.want(t, 1, throttled(0, limit.Never, limit.Never))
}

func checkRetry(t *testing.T, s *subject) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		cost := 1 + random.Int64N(s.limit.Capacity)
		d := s.take(t, "alice", cost)
		if d.Allowed {
			continue
		}
		s.clock.Move(d.RetryAfter - time.Microsecond)
		if early := s.take(t, "alice", cost); early.Allowed || early.RetryAfter != time.Microsecond {
			t.Fatalf("cost %d: 1 µs before the promised %s: %+v", cost, d.RetryAfter, early)
		}
		s.clock.Move(time.Microsecond)
		if due := s.take(t, "alice", cost); !due.Allowed {
			t.Fatalf("cost %d: still throttled after the promised %s: %+v", cost, d.RetryAfter, due)
		}
	}
}

func checkReset(t *testing.T, s *subject) {
	for cost := int64(1); cost <= s.limit.Capacity; cost++ {
		d := s.take(t, "alice", cost)
		s.clock.Move(d.ResetAfter - time.Microsecond)
		if early := s.take(t, "alice", 0); early.ResetAfter != time.Microsecond {
			t.Fatalf("1 µs before the promised reset after %s: %+v", d.ResetAfter, early)
		}
		s.clock.Move(time.Microsecond)
		s.want(t, 0, admitted(float64(s.limit.Capacity), 0))
	}
}

func checkKeys(t *testing.T, s *subject) {
	s.want(t, 2, admitted(0, 2*time.Second))
	if d := s.take(t, "bob", 2); !d.Allowed {
		t.Errorf("alice's takes throttled bob: %+v", d)
	}
	s.want(t, 1, throttled(0, time.Second, 2*time.Second))
}

func checkClockBack(t *testing.T, s *subject) {
	first := s.take(t, "alice", 2)
	s.clock.Move(-time.Hour)
	d := s.take(t, "alice", 1)
	if d.Allowed || d.DecidedAt != first.DecidedAt {
		t.Fatalf("an hour back: %+v, want throttled at %d", d, first.DecidedAt)
	}
	s.clock.Move(time.Hour) // where it was: no token has come
	s.want(t, 1, throttled(0, time.Second, 2*time.Second))
	s.clock.Move(time.Second)
	s.want(t, 1, admitted(0, 2*time.Second))
}

// checkAgainstStep compares with limit.Take, decision by decision.
func checkAgainstStep(t *testing.T, s *subject) {
	random := rand.New(rand.NewPCG(3, 4))
	states := make(map[string]limit.State)
	token := time.Duration(s.limit.Rate.Seconds) * time.Second / time.Duration(s.limit.Rate.Tokens)
	for i := range 300 {
		key := fmt.Sprint("key", random.IntN(3))
		cost := random.Int64N(s.limit.Capacity + 2)
		step := time.Duration(random.Int64N(int64(2*token))) - token/4
		s.clock.Move(step.Truncate(time.Microsecond))
		want, after := s.limit.Take(states[key], s.clock.Now(), cost)
		states[key] = after
		if got := s.take(t, key, cost); got != want {
			t.Fatalf("take %d of %s, cost %d\n got %+v\nwant %+v", i, key, cost, got, want)
		}
	}
}

// checkConcurrent has 32 callers empty a bucket that never refills: each level
// must have been left behind exactly once.
func checkConcurrent(t *testing.T, s *subject) {
	var mu sync.Mutex
	var levels []int64
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for range 10 {
				d, err := s.limiter.Take(context.Background(), "alice", 1)
				if err != nil {
					t.Error(err)
					return
				}
				if d.Allowed {
					mu.Lock()
					levels = append(levels, d.Remaining/limit.MicroToken)
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	slices.Sort(levels)
	for i, level := range levels {
		if level != int64(i) {
			t.Fatalf("levels after the admitted takes: %v, want 0 to 99 once each", levels)
		}
	}
	if len(levels) != 100 {
		t.Fatalf("admitted %d of 320, want 100", len(levels))
	}
}

func checkNegative(t *testing.T, s *subject) {
	if d, err := s.limiter.Take(context.Background(), "alice", -1); !errors.Is(err, limit.ErrCost) {
		t.Fatalf("Take(cost -1) = %+v, %v, want %v", d, err, limit.ErrCost)
	}
	s.want(t, 0, admitted(2, 0))
}

func checkCancelled(t *testing.T, s *subject) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := s.limiter.Take(ctx, "alice", 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("Take(cancelled) = %+v, %v, want %v", d, err, context.Canceled)
	}
	s.want(t, 0, admitted(2, 0))
}

// checkOwnClock asks until it is admitted again. Every throttled answer must
// name the same instant, and the admission must not come before it.
func checkOwnClock(t *testing.T, s *subject) {
	first := s.take(t, "alice", 1)
	due := first.DecidedAt + first.ResetAfter.Microseconds()
	for deadline := time.Now().Add(10 * time.Second); ; {
		d := s.take(t, "alice", 1)
		if d.Allowed {
			if d.DecidedAt < due {
				t.Fatalf("admitted at %d, promised for %d", d.DecidedAt, due)
			}
			return
		}
		if at := d.DecidedAt + d.RetryAfter.Microseconds(); at != due {
			t.Fatalf("throttled at %d until %d, promised for %d", d.DecidedAt, at, due)
		}
		if time.Now().After(deadline) {
			t.Fatalf("still throttled 10 s later, promised for %s", first.ResetAfter)
		}
	}
}

// checkOwnStep replays with limit.Take, at the times the decisions name. Buckets
// are full again after at most 1.5 ms, so a limiter that forgets one too early
// or remembers it wrongly is found out.
func checkOwnStep(t *testing.T, s *subject) {
	random := rand.New(rand.NewPCG(5, 6))
	states := make(map[string]limit.State)
	for i := range 2000 {
		key, cost := fmt.Sprint("key", random.IntN(10)), random.Int64N(5)
		got := s.take(t, key, cost)
		want, after := s.limit.Take(states[key], got.DecidedAt, cost)
		states[key] = after
		if got != want {
			t.Fatalf("take %d of %s, cost %d\n got %+v\nwant %+v", i, key, cost, got, want)
		}
	}
}

func checkOddKeys(t *testing.T, s *subject) {
	for _, key := range []string{"", " ", "{a}", "a{b", "\x00", "\r\n", "\xff\xfe", "ключ", "*", string(make([]byte, 4096))} {
		if d := s.take(t, key, 1); !d.Allowed {
			t.Errorf("the first take of %.20q was throttled", key)
		}
		if d := s.take(t, key, 1); d.Allowed {
			t.Errorf("the second take of %.20q was admitted", key)
		}
	}
}
