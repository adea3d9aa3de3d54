package redislimit_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
)

func TestALeaseSavesCalls(t *testing.T) {
	rdb, g := embedded(t)
	clock := limittest.NewClock()
	limiter := mustConfig(t, rdb, "0/s,capacity=1000", redislimit.Config{Lease: 64})
	redislimit.WithClock(limiter, clock.Now)
	for i := range 1000 {
		if d := mustTake(t, limiter, 1); !d.Allowed || d.Remaining != int64(999-i)*limit.MicroToken {
			t.Fatalf("take %d: %+v, want admitted with %d tokens left", i, d, 999-i)
		}
	}
	if d := mustTake(t, limiter, 1); d.Allowed {
		t.Error("take 1001 of 1000 admitted")
	}
	if calls := len(g.calls()); calls > 60 {
		t.Errorf("%d calls for 1001 takes, want 1000/64 and a few", calls)
	}
}

// What is idle goes back, and no more than that.
func TestAnIdleLeaseGoesBack(t *testing.T) {
	rdb, _ := embedded(t)
	clock := limittest.NewClock()
	limiter := mustConfig(t, rdb, "0/s,capacity=100", redislimit.Config{Lease: 50})
	other := mustConfig(t, rdb, "0/s,capacity=100", redislimit.Config{Remember: -1})
	redislimit.WithClock(limiter, clock.Now)
	redislimit.WithClock(other, clock.Now)
	for range 25 {
		mustTake(t, limiter, 1)
	}
	if d := mustTake(t, other, 0); d.Remaining >= 75*limit.MicroToken {
		t.Fatalf("%d micro-tokens left in the bucket: nothing was leased", d.Remaining)
	}
	clock.Move(time.Second)
	if err := redislimit.Sweep(limiter); err != nil {
		t.Fatal(err)
	}
	if d := mustTake(t, other, 0); d.Remaining != 75*limit.MicroToken {
		t.Errorf("%d micro-tokens left after 25 takes of 100, want 75000000", d.Remaining)
	}
	for range 25 {
		mustTake(t, limiter, 1)
	}
	if err := limiter.Close(); err != nil {
		t.Fatal(err)
	}
	if d := mustTake(t, other, 0); d.Remaining != 50*limit.MicroToken {
		t.Errorf("%d micro-tokens left after 50 takes of 100 and Close, want 50000000", d.Remaining)
	}
}

// Three processes with leases: over any window at most capacity + rate × t +
// processes × lease, in total at most capacity + rate × t, and not one token is
// lost in the end.
func TestLeasesKeepTheirBound(t *testing.T) {
	const processes, lease = 3, 16
	rdb, _ := embedded(t)
	clock := limittest.NewClock()
	random := rand.New(rand.NewPCG(7, 8))
	limiters := make([]*redislimit.Limiter, processes)
	for i := range limiters {
		limiters[i] = mustConfig(t, rdb, "200/s,capacity=40", redislimit.Config{Lease: lease})
		redislimit.WithClock(limiters[i], clock.Now)
	}
	l := limiters[0].Limit()
	type admitted struct{ at, cost int64 }
	var history []admitted
	for range 3000 {
		clock.Move(time.Duration(random.Int64N(6000)) * time.Microsecond)
		if random.IntN(100) == 0 {
			clock.Move(300 * time.Millisecond)
		}
		limiter, cost := limiters[random.IntN(processes)], 1+random.Int64N(3)
		if random.IntN(50) == 0 {
			if err := redislimit.Sweep(limiter); err != nil {
				t.Fatal(err)
			}
		}
		if d := mustTake(t, limiter, cost); d.Allowed {
			history = append(history, admitted{clock.Now(), cost})
		}
	}
	start := clock.Now()
	if len(history) > 0 {
		start = history[0].at
	}
	for i := range history {
		total := int64(0)
		for j := i; j < len(history); j++ {
			total += history[j].cost
			most := l.Capacity + l.Rate.Tokens*(history[j].at-history[i].at)/1_000_000 + processes*lease
			if history[i].at == start {
				most -= processes * lease // nothing was leased before
			}
			if total > most {
				t.Fatalf("%d tokens in %d µs, want at most %d", total, history[j].at-history[i].at, most)
			}
		}
	}
	for _, limiter := range limiters {
		if err := limiter.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// By real clocks and many callers: a bucket that never refills is spent exactly
// once, whatever is leased, returned and taken in between.
func TestLeasesLoseAndInventNothing(t *testing.T) {
	rdb := mustClient(t, limittest.Redis(t))
	var admitted [4]int64
	var mu sync.Mutex
	var group sync.WaitGroup
	limiters := make([]*redislimit.Limiter, 3)
	for i := range limiters {
		limiters[i] = mustConfig(t, rdb, "0/s,capacity=1000", redislimit.Config{Lease: 30, Remember: -1})
	}
	for c := range 24 {
		group.Go(func() {
			for i := range 200 {
				key := (c + i) % len(admitted)
				d, err := limiters[c%len(limiters)].Take(context.Background(), strconv.Itoa(key), 1)
				if err != nil {
					t.Error(err)
					return
				}
				if d.Allowed {
					mu.Lock()
					admitted[key]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	for _, limiter := range limiters {
		if err := limiter.Close(); err != nil {
			t.Fatal(err)
		}
	}
	exact := mustConfig(t, rdb, "0/s,capacity=1000", redislimit.Config{})
	for key, n := range admitted {
		d, err := exact.Take(context.Background(), strconv.Itoa(key), 0)
		if left := d.Remaining / limit.MicroToken; err != nil || n+left != 1000 {
			t.Errorf("key %d: %d admitted and %d left of 1000, %v", key, n, left, err)
		}
	}
}
