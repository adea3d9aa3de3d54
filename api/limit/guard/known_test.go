package guard_test

import (
	"bytes"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/guard"
)

// knowing is a backend that knows the buckets of some keys.
type knowing struct {
	backend

	empty map[string]bool
}

func (k *knowing) TryLocal(key string, _ int64) (limit.Decision, bool) {
	return limit.Decision{RetryAfter: 3 * time.Second}, k.empty[key]
}

// What is known is answered without the backend, works it or not, and neither
// opens the breaker nor closes it.
func TestWhatIsKnownNeedsNoBackend(t *testing.T) {
	t.Parallel()
	k := &knowing{empty: map[string]bool{"alice": true}}
	breaker := guard.NewBreaker(guard.BreakerConfig{Failures: 1, Cooldown: time.Nanosecond}) // every take may probe
	g := guard.New(k, breaker, guard.Config{Deadline: time.Second})
	known := func() {
		t.Helper()
		answer := g.Take(t.Context(), "alice", 1)
		if answer.Source != guard.Backend || answer.Allowed || answer.RetryAfter != 3*time.Second || answer.Err != nil {
			t.Errorf("Take of a key that is known = %+v, want what is known", answer)
		}
	}
	known()
	if n := k.asked.Load(); n != 0 {
		t.Errorf("the backend was asked %d times for a key that is known", n)
	}
	k.mode.Store(fails)
	g.Take(t.Context(), "bob", 1)
	known()
	if n := k.asked.Load(); n != 1 || !breaker.Away() {
		t.Errorf("asked %d times, away %t: want 1, for bob, and a breaker that no answer from memory has closed", n, breaker.Away())
	}
	k.mode.Store(works)
	if answer := g.Take(t.Context(), "bob", 1); answer.Source != guard.Backend || !answer.Allowed {
		t.Errorf("Take of a key that is not known = %+v, want the backend's decision", answer)
	}
}

// An answer from memory allocates nothing.
func TestWhatIsKnownAllocatesNothing(t *testing.T) {
	k := &knowing{empty: map[string]bool{"alice": true}}
	g, _ := newGuard(&k.backend, &bytes.Buffer{}, guard.Config{Deadline: time.Second})
	if n := testing.AllocsPerRun(100, func() { g.Take(t.Context(), "alice", 1) }); n == 0 {
		t.Error("a take that asks allocates nothing: this test cannot tell")
	}
	g = guard.New(k, guard.NewBreaker(guard.BreakerConfig{}), guard.Config{Deadline: time.Second})
	if n := testing.AllocsPerRun(100, func() { g.Take(t.Context(), "alice", 1) }); n != 0 {
		t.Errorf("%v allocations for an answer from memory, want none", n)
	}
}
