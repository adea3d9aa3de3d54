package memlimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/memlimit"
)

func mustNew(tb testing.TB, text string, c memlimit.Config) *memlimit.Limiter {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	limiter, err := memlimit.New(l, c)
	if err != nil {
		tb.Fatal(err)
	}
	return limiter
}

func mustTake(tb testing.TB, limiter limit.Limiter, key string, cost int64) limit.Decision {
	tb.Helper()
	d, err := limiter.Take(context.Background(), key, cost)
	if err != nil {
		tb.Fatalf("Take(%q, %d): %v", key, cost, err)
	}
	return d
}

func TestContract(t *testing.T) {
	limittest.Run(t, func(tb testing.TB, l limit.Limit, clock *limittest.Clock) limit.Limiter {
		limiter, err := memlimit.New(l, memlimit.Config{Clock: clock.Now})
		if err != nil {
			tb.Fatal(err)
		}
		return limiter
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := memlimit.New(limit.Limit{}, memlimit.Config{}); err == nil {
		t.Error("New accepted the zero limit")
	}
	if _, err := memlimit.New(limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: 1, Seconds: 1}}, memlimit.Config{MaxKeys: -1}); err == nil {
		t.Error("New accepted -1 keys")
	}
}

// 200,000 keys, each used once and full again a second later, never are more
// in memory than a few seconds' worth.
func TestFullBucketsAreForgotten(t *testing.T) {
	clock := limittest.NewClock()
	limiter := mustNew(t, "1/s,capacity=5", memlimit.Config{Clock: clock.Now})
	const perSecond, seconds = 10_000, 20
	most := 0
	for i := range perSecond * seconds {
		mustTake(t, limiter, strconv.Itoa(i), 1)
		clock.Move(time.Second / perSecond)
		if i%1000 == 0 {
			most = max(most, limiter.Len())
		}
	}
	// Swept at twice what is in use, or at 1,024 a shard.
	if bound := 2*perSecond + 64*1024; most > bound {
		t.Errorf("%d buckets in memory with %d in use, want at most %d", most, perSecond, bound)
	}
}

// Forgetting must not show: with so few keys allowed that sweeps are frequent,
// every decision is still the pure step's.
func TestForgettingCannotBeSeen(t *testing.T) {
	clock := limittest.NewClock()
	limiter := mustNew(t, "100/s,capacity=3", memlimit.Config{Clock: clock.Now, MaxKeys: 16_000})
	random := rand.New(rand.NewPCG(5, 6))
	states := make(map[string]limit.State)
	forgotten := false
	for range 200_000 {
		clock.Move(time.Duration(random.Int64N(10)) * time.Microsecond)
		key, cost := strconv.Itoa(random.IntN(100_000)), random.Int64N(5)
		want, after := limiter.Limit().Take(states[key], clock.Now(), cost)
		states[key] = after
		if got := mustTake(t, limiter, key, cost); got != want {
			t.Fatalf("Take(%s, %d)\n got %+v\nwant %+v", key, cost, got, want)
		}
		forgotten = forgotten || limiter.Len() < len(states)/2
	}
	if !forgotten {
		t.Error("nothing was forgotten: the test shows nothing")
	}
}

func TestMaxKeys(t *testing.T) {
	clock := limittest.NewClock()
	limiter := mustNew(t, "1/s,capacity=1", memlimit.Config{Clock: clock.Now, MaxKeys: 640})
	refused := ""
	for i := 0; refused == "" && i < 100_000; i++ {
		key := strconv.Itoa(i)
		if _, err := limiter.Take(context.Background(), key, 1); errors.Is(err, memlimit.ErrFull) {
			refused = key
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused == "" || limiter.Len() > 640 {
		t.Fatalf("%d keys remembered, refused %q, want at most 640 and one refused", limiter.Len(), refused)
	}
	if d := mustTake(t, limiter, "0", 1); d.Allowed {
		t.Error("a key in use lost its bucket")
	}
	clock.Move(time.Second)
	if d := mustTake(t, limiter, refused, 1); !d.Allowed {
		t.Error("no room was made when the buckets were full again")
	}
}

func TestLookingStoresNothing(t *testing.T) {
	limiter := mustNew(t, "1/s,capacity=1", memlimit.Config{})
	mustTake(t, limiter, "alice", 0)
	mustTake(t, limiter, "alice", 2)
	if n := limiter.Len(); n != 0 {
		t.Errorf("%d buckets after a look and a refusal, want 0", n)
	}
}

func TestReset(t *testing.T) {
	limiter := mustNew(t, "0/s,capacity=1", memlimit.Config{})
	mustTake(t, limiter, "alice", 1)
	limiter.Reset("alice")
	if d := mustTake(t, limiter, "alice", 1); !d.Allowed {
		t.Errorf("throttled after Reset: %+v", d)
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	limiter := mustNew(t, "1000000/s,capacity=1000000", memlimit.Config{})
	ctx := context.Background()
	mustTake(t, limiter, "alice", 1)
	if n := testing.AllocsPerRun(1000, func() { _, _ = limiter.Take(ctx, "alice", 1) }); n != 0 {
		t.Errorf("Take allocates %g times, want 0", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, keys := range []int{1, 10_000} {
			for _, outcome := range []struct{ name, limit string }{
				{"admitted", "1000000/s,capacity=1000000000"},
				{"throttled", "1/h,capacity=1"},
			} {
				b.Run(fmt.Sprintf("memory/callers=%d/keys=%d/%s", callers, keys, outcome.name), func(b *testing.B) {
					benchmarkTake(b, mustNew(b, outcome.limit, memlimit.Config{}), callers, keys)
				})
			}
		}
	}
}

func benchmarkTake(b *testing.B, limiter limit.Limiter, callers, keys int) {
	names := make([]string, keys)
	for i := range names {
		names[i] = "key" + strconv.Itoa(i)
		mustTake(b, limiter, names[i], 1)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	var next atomic.Int64
	for range callers {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				_, _ = limiter.Take(context.Background(), names[i%int64(keys)], 1)
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
