package redislimit_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
)

// embedded returns a client of a miniredis, and a gate that counts its calls.
func embedded(tb testing.TB) (redis.UniversalClient, *gate) {
	tb.Helper()
	rdb := mustClient(tb, "redis://"+miniredis.RunT(tb).Addr())
	return rdb, newGate(rdb)
}

func TestAnEmptyBucketIsNotAskedAgain(t *testing.T) {
	rdb, g := embedded(t)
	clock := limittest.NewClock()
	limiter := mustConfig(t, rdb, "2/s,capacity=2", redislimit.Config{})
	redislimit.WithClock(limiter, clock.Now)
	if err := limiter.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, state := limiter.Limit(), limit.State{}
	for i, step := range []struct {
		move  time.Duration
		cost  int64
		calls int // so far
	}{
		{0, 2, 1},
		{0, 1, 2}, // the first refusal is Redis'
		{0, 1, 2},
		{100 * time.Millisecond, 1, 2},
		{0, 2, 2}, // what costs more is refused too
		{0, 3, 2},
		{0, 0, 3},                      // a look asks
		{399 * time.Millisecond, 1, 3}, // 1 ms before the next token
		{999 * time.Microsecond, 1, 4}, // 1 µs before: within the drift
		{time.Microsecond, 1, 5},       // admitted
		{0, 1, 6},
		{-time.Second, 1, 7}, // the clock steps back: ask
	} {
		clock.Move(step.move)
		d, err := limiter.Take(context.Background(), "alice", step.cost)
		if err != nil {
			t.Fatal(err)
		}
		want, after := l.Take(state, clock.Now(), step.cost)
		state = after
		if d != want {
			t.Errorf("take %d:\n got %+v\nwant %+v", i, d, want)
		}
		if calls := len(g.calls()); calls != step.calls {
			t.Fatalf("take %d: %d calls to Redis so far, want %d", i, calls, step.calls)
		}
	}
}

// Whatever is remembered, every answer is the pure step's; with a rate of whole
// tokens a second each figure of it, otherwise Remaining to one micro-token and
// RetryAfter to 1 µs, to the safe side.
func TestWhatIsRememberedIsExact(t *testing.T) {
	for _, text := range []string{"5/s,capacity=3", "7/m,capacity=3", "1000/h,capacity=2", "0/s,capacity=2", "300000/s,capacity=1"} {
		t.Run(text, func(t *testing.T) {
			rdb, g := embedded(t)
			clock := limittest.NewClock()
			limiter := mustConfig(t, rdb, text, redislimit.Config{})
			redislimit.WithClock(limiter, clock.Now)
			l, states := limiter.Limit(), map[string]limit.State{}
			random := rand.New(rand.NewPCG(1, 2))
			token := l.Rate.Seconds * 1_000_000 / max(1, l.Rate.Tokens)
			const takes = 1000
			for i := range takes {
				key, cost := "key"+strconv.Itoa(random.IntN(3)), random.Int64N(4)
				clock.Move(time.Duration(random.Int64N(max(2, token/4))) * time.Microsecond)
				got, err := limiter.Take(context.Background(), key, cost)
				if err != nil {
					t.Fatal(err)
				}
				want, after := l.Take(states[key], clock.Now(), cost)
				states[key] = after
				if l.Rate.Seconds > 1 && got.Remaining == want.Remaining-1 {
					got.Remaining++
				}
				if l.Rate.Seconds > 1 && got.RetryAfter == want.RetryAfter+time.Microsecond {
					got.RetryAfter -= time.Microsecond
				}
				if got != want {
					t.Fatalf("take %d of %s, cost %d\n got %+v\nwant %+v", i, key, cost, got, want)
				}
			}
			if calls := len(g.calls()); calls >= takes && token > 1000 {
				t.Errorf("%d calls for %d takes: nothing was remembered", calls, takes)
			}
		})
	}
}

func TestResetForgets(t *testing.T) {
	rdb, _ := embedded(t)
	limiter := mustConfig(t, rdb, "1/h,capacity=1", redislimit.Config{})
	for range 3 {
		if d := mustTake(t, limiter, 1); !d.Allowed {
			t.Fatalf("throttled after Reset: %+v", d)
		}
		if d := mustTake(t, limiter, 1); d.Allowed {
			t.Fatal("two takes of one token admitted")
		}
		if err := limiter.Reset(context.Background(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
}

// A refusal that was on its way while the key was reset must not be remembered.
func TestAResetInFlightWins(t *testing.T) {
	rdb, g := embedded(t)
	limiter := mustConfig(t, rdb, "1/h,capacity=1", redislimit.Config{})
	mustTake(t, limiter, 1)
	<-g.before
	answered := make(chan struct{})
	g.mu.Lock()
	g.after = func() { // between Redis' answer and the caller
		if err := limiter.Reset(context.Background(), "alice"); err != nil {
			t.Error(err)
		}
		close(answered)
	}
	g.mu.Unlock()
	if d := mustTake(t, limiter, 1); d.Allowed {
		t.Fatal("two takes of one token admitted")
	}
	<-answered
	if d := mustTake(t, limiter, 1); !d.Allowed {
		t.Errorf("throttled after Reset by an answer from before: %+v", d)
	}
}

// When somebody else makes the bucket full, Config.Remember bounds for how long
// this process does not know.
func TestARefusalGrowsOld(t *testing.T) {
	rdb, _ := embedded(t)
	clock := limittest.NewClock()
	limiter := mustConfig(t, rdb, "1/h,capacity=1", redislimit.Config{Remember: 300 * time.Millisecond})
	redislimit.WithClock(limiter, clock.Now)
	mustTake(t, limiter, 1)
	mustTake(t, limiter, 1)
	rdb.Del(context.Background(), "alice")
	clock.Move(299 * time.Millisecond)
	if d := mustTake(t, limiter, 1); d.Allowed {
		t.Error("asked before Remember was over")
	}
	clock.Move(time.Millisecond)
	if d := mustTake(t, limiter, 1); !d.Allowed {
		t.Errorf("not asked after Remember was over: %+v", d)
	}
}

func TestRememberedRefusalsAreBounded(t *testing.T) {
	rdb, _ := embedded(t)
	limiter := mustConfig(t, rdb, "0/s,capacity=1", redislimit.Config{Remembered: 128})
	for i := range 500 {
		for _, want := range []bool{true, false, false} {
			if d, err := limiter.Take(context.Background(), strconv.Itoa(i), 1); err != nil || d.Allowed != want {
				t.Fatalf("key %d: %+v, %v, want allowed %t", i, d, err, want)
			}
		}
	}
	if n := redislimit.Remembered(limiter); n > 128 || n < 64 {
		t.Errorf("%d refusals remembered of 500, want about and at most 128", n)
	}
}

func TestARememberedRefusalAllocatesNothing(t *testing.T) {
	rdb, _ := embedded(t)
	limiter := mustConfig(t, rdb, "1/h,capacity=1", redislimit.Config{Remember: time.Hour})
	mustTake(t, limiter, 1)
	mustTake(t, limiter, 1)
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() { _, _ = limiter.Take(ctx, "alice", 1) }); n != 0 {
		t.Errorf("%g allocations, want 0", n)
	}
}

// What TryLocal answers is what Take would, and it asks nobody.
func TestTryLocalIsTakeWithoutRedis(t *testing.T) {
	rdb, g := embedded(t)
	clock := limittest.NewClock()
	limiter := mustConfig(t, rdb, "2/s,capacity=2", redislimit.Config{})
	leasing := mustConfig(t, rdb, "2/s,capacity=2", redislimit.Config{Lease: 1})
	for _, l := range []*redislimit.Limiter{limiter, leasing} {
		redislimit.WithClock(l, clock.Now)
		if d, known := l.TryLocal("alice", 1); known {
			t.Errorf("TryLocal knows of a bucket that nobody has asked for: %+v", d)
		}
	}
	mustTake(t, limiter, 2)
	mustTake(t, limiter, 1) // refused, and remembered
	if _, err := leasing.Take(context.Background(), "alice", 1); err != nil {
		t.Fatal(err)
	}
	clock.Move(100 * time.Millisecond)
	calls := len(g.calls())
	d, known := limiter.TryLocal("alice", 1)
	if want := mustTake(t, limiter, 1); !known || d != want || d.Allowed {
		t.Errorf("TryLocal = %+v, %t, want what Take answers: %+v", d, known, want)
	}
	if n := len(g.calls()); n != calls {
		t.Errorf("%d calls to Redis for what is known", n-calls)
	}
	if d, known := leasing.TryLocal("alice", 1); known {
		t.Errorf("TryLocal = %+v before the lease is looked at, want nothing", d)
	}
	clock.Move(400 * time.Millisecond)
	if d, known := limiter.TryLocal("alice", 1); known {
		t.Errorf("TryLocal = %+v when the next token is due, want nothing", d)
	}
}
