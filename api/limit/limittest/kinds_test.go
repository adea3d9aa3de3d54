package limittest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/api/limit"
	"weir/api/limit/limittest"
)

func kind(tb testing.TB, name, text string, clock *limittest.Clock) limit.Limiter {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	for _, k := range limittest.Kinds {
		if k.Name == name {
			return k.New(tb, l, clock)
		}
	}
	tb.Fatalf("no kind %q", name)
	return nil
}

func mustTake(tb testing.TB, l limit.Limiter, cost int64) limit.Decision {
	tb.Helper()
	d, err := l.Take(context.Background(), "alice", cost)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// Each kind that answers at once is offered random takes. What it admits must be
// what its promise says, by a count that knows nothing of how it works, and its
// Retry-After must be exact.
func TestKindsKeepTheirPromises(t *testing.T) {
	t.Parallel()
	const width = 2_000_000 // µs, of 5/s,capacity=10
	type admit struct{ at, cost int64 }
	within := func(admits []admit, from, to int64) (tokens int64) { // [from, to)
		for _, a := range admits {
			if a.at >= from && a.at < to {
				tokens += a.cost
			}
		}
		return tokens
	}
	for _, c := range []struct {
		name string
		used func(admits []admit, now int64) float64 // tokens of 10 in use at now
	}{
		{"fixed window", func(admits []admit, now int64) float64 {
			return float64(within(admits, now-now%width, now+1))
		}},
		{"sliding log", func(admits []admit, now int64) float64 {
			return float64(within(admits, now-width+1, now+1))
		}},
		{"sliding counter", func(admits []admit, now int64) float64 {
			edge := now - now%width
			return float64(within(admits, edge, now+1)) +
				float64(within(admits, edge-width, edge))*float64(edge+width-now)/width
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(7, 8))
			clock := limittest.NewClock()
			limiter := kind(t, c.name, "5/s,capacity=10", clock)
			var admits []admit
			for i := range 3000 {
				clock.Move(time.Duration(random.IntN(1_200_000)) * time.Microsecond)
				cost := 1 + random.Int64N(4)
				want := c.used(admits, clock.Now())+float64(cost) <= 10+1e-9
				d := mustTake(t, limiter, cost)
				if d.Allowed != want || d.DecidedAt != clock.Now() {
					t.Fatalf("take %d of cost %d: %+v, want allowed %t", i, cost, d, want)
				}
				if !d.Allowed {
					clock.Move(d.RetryAfter - time.Microsecond)
					if early := mustTake(t, limiter, cost); early.Allowed || early.RetryAfter != time.Microsecond {
						t.Fatalf("1 µs before the promised %s: %+v", d.RetryAfter, early)
					}
					clock.Move(time.Microsecond)
					if d = mustTake(t, limiter, cost); !d.Allowed {
						t.Fatalf("after the promised wait: %+v", d)
					}
				}
				admits = append(admits, admit{clock.Now(), cost})
				admits = admits[max(0, len(admits)-50):]
			}
		})
	}
}

func TestFixedWindowPhase(t *testing.T) {
	t.Parallel()
	clock := limittest.NewClock() // shows a whole second
	l, _ := limit.Parse("10/s")
	limiter := limittest.FixedWindow(300*time.Millisecond)(t, l, clock)
	if d := mustTake(t, limiter, 1); d.ResetAfter != 300*time.Millisecond {
		t.Errorf("the window ends in %s, want 300ms", d.ResetAfter)
	}
}

func TestSeveralLimits(t *testing.T) {
	t.Parallel()
	clock := limittest.NewClock()
	limiter := kind(t, "several limits", "10/s", clock)
	admitted := int64(0)
	for range 2 * 60 {
		for range 10 {
			if mustTake(t, limiter, 1).Allowed {
				admitted++
			}
		}
		clock.Move(500 * time.Millisecond)
	}
	// 10/s alone would admit 600; 100 and 100 a minute admit 199 by 59.5 s.
	if admitted != 199 {
		t.Errorf("admitted %d in 59.5 s, want 199", admitted)
	}
	if d := mustTake(t, limiter, 10); d.Allowed || d.RetryAfter != 5400*time.Millisecond {
		t.Errorf("10 more: %+v, want throttled by the slower limit for 5.4 s", d)
	}
}

func TestTokenBucketKind(t *testing.T) {
	t.Parallel()
	for _, k := range limittest.Kinds {
		if k.Name == "token bucket" {
			limittest.Run(t, k.New)
		}
	}
}

func TestLeakyQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := kind(t, "leaky queue", "10/s,capacity=5", nil)
		start := time.Now()
		var mu sync.Mutex
		var turns []time.Duration
		var throttled []limit.Decision
		var takes sync.WaitGroup
		for range 8 {
			takes.Go(func() {
				d := mustTake(t, limiter, 1)
				mu.Lock()
				defer mu.Unlock()
				if d.Allowed {
					turns = append(turns, time.Since(start))
				} else {
					throttled = append(throttled, d)
				}
			})
		}
		takes.Wait()
		want := []time.Duration{0, 1e8, 2e8, 3e8, 4e8, 5e8}
		if !slices.Equal(turns, want) {
			t.Errorf("turns at %v, want %v", turns, want)
		}
		for _, d := range throttled {
			if d.RetryAfter != 100*time.Millisecond {
				t.Errorf("throttled for %s, want 100ms", d.RetryAfter)
			}
		}
	})
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := kind(t, "concurrency", "10/s,capacity=3", nil)
		outcomes := make(chan string, 6)
		for i := range 6 {
			go func() {
				time.Sleep(time.Duration(i) * 90 * time.Millisecond) // slots are held for 300 ms
				outcomes <- fmt.Sprint(i, mustTake(t, limiter, 1).Allowed)
			}()
		}
		var got []string
		for range 6 {
			got = append(got, <-outcomes)
		}
		slices.Sort(got)
		if want := []string{"0 true", "1 true", "2 true", "3 false", "4 true", "5 true"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, k := range limittest.Kinds {
		limiter := kind(t, k.Name, "1000/s,capacity=5", nil)
		if d := mustTake(t, limiter, 1); !d.Allowed || k.What == "" {
			t.Errorf("%s: the first take is %+v, want admitted", k.Name, d)
		}
		if k.Name == "none" {
			for range 100 {
				if !mustTake(t, limiter, 1).Allowed {
					t.Error("none: throttled")
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := limiter.Take(ctx, "alice", 1); err == nil {
			t.Errorf("%s: a cancelled take has no error", k.Name)
		}
		if _, err := limiter.Take(t.Context(), "alice", -1); err == nil {
			t.Errorf("%s: a negative cost has no error", k.Name)
		}
	}
}
