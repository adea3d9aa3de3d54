package limit_test

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/api/limit"
)

const (
	second = int64(1_000_000)             // µs
	start  = int64(1_760_000_000_000_000) // µs since the epoch, October 2025
)

func mustParse(tb testing.TB, text string) limit.Limit {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// A story is a list of takes of one bucket.
type take struct {
	at   int64 // µs after start
	cost int64
	want limit.Decision // DecidedAt is µs after start
}

func TestTake(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		name  string
		limit string
		takes []take
	}{
		{"a new bucket is full, and its burst is the capacity", "1/s,capacity=2", []take{
			{0, 1, limit.Decision{Allowed: true, Remaining: 1_000_000, ResetAfter: time.Second}},
			{0, 1, limit.Decision{Allowed: true, ResetAfter: 2 * time.Second, DecidedAt: 0}},
			{0, 1, limit.Decision{RetryAfter: time.Second, ResetAfter: 2 * time.Second}},
		}},
		{"half a token is not a token", "1/s,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: time.Second}},
			{500_000, 1, limit.Decision{Remaining: 500_000, RetryAfter: 500 * ms, ResetAfter: 500 * ms, DecidedAt: 500_000}},
			{999_999, 1, limit.Decision{Remaining: 999_999, RetryAfter: time.Microsecond, ResetAfter: time.Microsecond, DecidedAt: 999_999}},
			{second, 1, limit.Decision{Allowed: true, ResetAfter: time.Second, DecidedAt: second}},
		}},
		{"a third of a second is rounded up to whole microseconds", "3/s,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: 333_334 * time.Microsecond}},
			{333_333, 1, limit.Decision{Remaining: 999_999, RetryAfter: time.Microsecond, ResetAfter: time.Microsecond, DecidedAt: 333_333}},
			{333_334, 1, limit.Decision{Allowed: true, ResetAfter: 333_334 * time.Microsecond, DecidedAt: 333_334}},
		}},
		{"ten a minute is one in six seconds, exactly", "10/m,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: 6 * time.Second}},
			{6*second - 1, 1, limit.Decision{Remaining: 999_999, RetryAfter: time.Microsecond, ResetAfter: time.Microsecond, DecidedAt: 6*second - 1}},
			{6 * second, 1, limit.Decision{Allowed: true, ResetAfter: 6 * time.Second, DecidedAt: 6 * second}},
		}},
		{"a cost above the capacity never succeeds and charges nothing", "1/s,capacity=2", []take{
			{0, 3, limit.Decision{Remaining: 2_000_000, RetryAfter: limit.Never}},
			{0, 2, limit.Decision{Allowed: true, ResetAfter: 2 * time.Second}},
			{0, 3, limit.Decision{RetryAfter: limit.Never, ResetAfter: 2 * time.Second}},
		}},
		{"cost 0 looks", "1/s,capacity=2", []take{
			{0, 0, limit.Decision{Allowed: true, Remaining: 2_000_000}},
			{0, 2, limit.Decision{Allowed: true, ResetAfter: 2 * time.Second}},
			{0, 0, limit.Decision{Allowed: true, ResetAfter: 2 * time.Second}},
			{second, 0, limit.Decision{Allowed: true, Remaining: 1_000_000, ResetAfter: time.Second, DecidedAt: second}},
		}},
		{"rate 0 never refills", "0/s,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: limit.Never}},
			{1000 * second, 1, limit.Decision{RetryAfter: limit.Never, ResetAfter: limit.Never, DecidedAt: 1000 * second}},
			{1000 * second, 0, limit.Decision{Allowed: true, ResetAfter: limit.Never, DecidedAt: 1000 * second}},
		}},
		{"a clock that steps back stands still", "1/s,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: time.Second}},
			{-10 * second, 1, limit.Decision{RetryAfter: time.Second, ResetAfter: time.Second}},
			{0, 1, limit.Decision{RetryAfter: time.Second, ResetAfter: time.Second}},
			{second, 1, limit.Decision{Allowed: true, ResetAfter: time.Second, DecidedAt: second}},
		}},
		{"years of idling do not overflow", "4503599627370495/s,capacity=1", []take{
			{0, 1, limit.Decision{Allowed: true, ResetAfter: time.Microsecond}},
			{100 * 365 * 86400 * second, 0, limit.Decision{Allowed: true, Remaining: 1_000_000, DecidedAt: 100 * 365 * 86400 * second}},
		}},
		{"the largest bucket is exact", "1/s,capacity=9007199254", []take{
			{0, 9_007_199_253, limit.Decision{Allowed: true, Remaining: 1_000_000, ResetAfter: 9_007_199_253 * time.Second}},
			{0, 2, limit.Decision{Remaining: 1_000_000, RetryAfter: time.Second, ResetAfter: 9_007_199_253 * time.Second}},
			{1, 0, limit.Decision{Allowed: true, Remaining: 1_000_001, ResetAfter: 9_007_199_253*time.Second - time.Microsecond, DecidedAt: 1}},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := mustParse(t, test.limit)
			var s limit.State
			for _, step := range test.takes {
				step.want.DecidedAt += start
				d, after := l.Take(s, start+step.at, step.cost)
				if d != step.want {
					t.Errorf("%s: Take(%d µs, cost %d)\n got %+v\nwant %+v", l, step.at, step.cost, d, step.want)
				}
				if changed := after != s; changed != (d.Allowed && step.cost > 0) {
					t.Errorf("%s: Take(%d µs, cost %d) changed the state: %t", l, step.at, step.cost, changed)
				}
				s = after
			}
		})
	}
}

func TestTakeUnderAChangedLimit(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, now string
		spent    int64 // from the full bucket of the old limit
		want     int64 // micro-tokens left under the new one at the same instant
	}{
		{"a lower capacity cuts the level", "1/s,capacity=10", "1/s,capacity=4", 1, 4_000_000},
		{"a higher capacity leaves the level", "1/s,capacity=10", "1/s,capacity=100", 1, 9_000_000},
		{"another unit keeps the tokens", "1/s,capacity=10", "10/m,capacity=10", 3, 7_000_000},
		{"and back", "10/m,capacity=10", "1/s,capacity=10", 3, 7_000_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := mustParse(t, test.old).Take(limit.State{}, start, test.spent)
			if d, _ := mustParse(t, test.now).Take(s, start, 0); d.Remaining != test.want {
				t.Errorf("%s after %s less %d: remaining %d, want %d", test.now, test.old, test.spent, d.Remaining, test.want)
			}
		})
	}
}

// anyLimit draws limits over the whole domain, most of them of everyday size.
func anyLimit(t *rapid.T) limit.Limit {
	l := limit.Limit{Rate: limit.Rate{
		Tokens:  rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 1<<51)).Draw(t, "tokens"),
		Seconds: rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, 3600), rapid.Int64Range(1, 4_000_000_000)).Draw(t, "seconds"),
	}}
	room := (1<<53 - 1 - l.Rate.Tokens) / (l.Rate.Seconds * limit.MicroToken)
	l.Capacity = rapid.OneOf(rapid.Int64Range(1, min(50, room)), rapid.Int64Range(1, room), rapid.Just(room)).Draw(t, "capacity")
	if err := l.Validate(); err != nil {
		t.Fatalf("a limit of the domain is refused: %v", err)
	}
	return l
}

// anyStep draws a time step: mostly forwards, often around the time of a token.
func anyStep(t *rapid.T, l limit.Limit) int64 {
	token := l.Rate.Seconds * second / max(1, l.Rate.Tokens)
	return rapid.OneOf(
		rapid.Int64Range(0, 3),
		rapid.Int64Range(0, token+1),
		rapid.Int64Range(max(0, token-2), token+2),
		rapid.Int64Range(0, 1<<40),
		rapid.Int64Range(-1<<30, 0),
	).Draw(t, "step")
}

func anyCost(t *rapid.T, l limit.Limit) int64 {
	return rapid.OneOf(rapid.Int64Range(0, 2), rapid.Int64Range(0, l.Capacity), rapid.Int64Range(l.Capacity-1, l.Capacity+1)).Draw(t, "cost")
}

// In every window of decision times, admitted cost is at most
// capacity + rate × elapsed. In units: no rounding hides an excess.
func TestNoWindowAdmitsTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLimit(t)
		unit := l.Rate.Seconds * limit.MicroToken
		type admitted struct{ at, cost int64 }
		var history []admitted
		var s limit.State
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "takes") {
			now += anyStep(t, l)
			var d limit.Decision
			cost := anyCost(t, l)
			d, s = l.Take(s, now, cost)
			if d.Allowed && cost > 0 {
				history = append(history, admitted{d.DecidedAt, cost})
			}
		}
		for i := range history {
			total := int64(0)
			for j := i; j < len(history); j++ {
				total += history[j].cost
				elapsed := history[j].at - history[i].at
				if product(total-l.Capacity, unit).Cmp(product(elapsed, l.Rate.Tokens)) > 0 {
					t.Fatalf("%s: %d tokens admitted in %d µs", l, total, elapsed)
				}
			}
		}
	})
}

func product(a, b int64) *big.Int { return new(big.Int).Mul(big.NewInt(a), big.NewInt(b)) }

// RetryAfter and ResetAfter are exact to the microsecond, in both directions.
func TestPromisesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLimit(t)
		var s limit.State
		now := start
		for range rapid.IntRange(1, 20).Draw(t, "takes") {
			now = max(start, now+anyStep(t, l))
			cost := anyCost(t, l)
			d, after := l.Take(s, now, cost)
			checkRetry(t, l, s, d, cost)
			checkReset(t, l, after, d)
			s = after
		}
	})
}

func checkRetry(t *rapid.T, l limit.Limit, s limit.State, d limit.Decision, cost int64) {
	retry := d.RetryAfter.Microseconds()
	switch {
	case d.Allowed:
		if d.RetryAfter != 0 {
			t.Fatalf("%s: admitted with retry after %s", l, d.RetryAfter)
		}
	case cost > l.Capacity || l.Rate.Tokens == 0:
		if d.RetryAfter != limit.Never {
			t.Fatalf("%s: cost %d: retry after %s, want never", l, cost, d.RetryAfter)
		}
	default:
		if later, _ := l.Take(s, d.DecidedAt+retry, cost); !later.Allowed {
			t.Fatalf("%s: cost %d still throttled after %d µs as promised", l, cost, retry)
		}
		if sooner, _ := l.Take(s, d.DecidedAt+retry-1, cost); sooner.Allowed {
			t.Fatalf("%s: cost %d admitted 1 µs before the promised %d µs", l, cost, retry)
		}
	}
}

func checkReset(t *rapid.T, l limit.Limit, after limit.State, d limit.Decision) {
	full := l.Capacity * limit.MicroToken
	if l.Rate.Tokens == 0 {
		if want := time.Duration(0); (d.Remaining == full) != (d.ResetAfter == want) || d.ResetAfter > 0 {
			t.Fatalf("%s: remaining %d, reset after %s", l, d.Remaining, d.ResetAfter)
		}
		return
	}
	reset := d.ResetAfter.Microseconds()
	if later, _ := l.Take(after, d.DecidedAt+reset, 0); later.ResetAfter != 0 || later.Remaining != full {
		t.Fatalf("%s: not full after %d µs as promised: %+v", l, reset, later)
	}
	if reset > 0 {
		if sooner, _ := l.Take(after, d.DecidedAt+reset-1, 0); sooner.ResetAfter != time.Microsecond {
			t.Fatalf("%s: 1 µs before full, reset after %s", l, sooner.ResetAfter)
		}
	}
}

// A change of limit never leaves more tokens than there were, to a micro-token.
func TestAChangedLimitHandsOutNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, now := anyLimit(t), anyLimit(t)
		before, s := old.Take(limit.State{}, start, rapid.Int64Range(1, old.Capacity).Draw(t, "spent"))
		d, _ := now.Take(s, start, 0)
		if d.Remaining > before.Remaining+2 {
			t.Fatalf("%s to %s: %d micro-tokens became %d", old, now, before.Remaining, d.Remaining)
		}
		if most := min(before.Remaining, now.Capacity*limit.MicroToken); d.Remaining < most-2 {
			t.Fatalf("%s to %s: %d micro-tokens became %d", old, now, before.Remaining, d.Remaining)
		}
	})
}

func BenchmarkStep(b *testing.B) {
	for _, test := range []struct{ name, limit string }{
		{"admitted", "1000000/s,capacity=1000000"},
		{"throttled", "1/h,capacity=1"},
		{"rational", "10/m,capacity=1000000"},
	} {
		b.Run(test.name, func(b *testing.B) {
			l := mustParse(b, test.limit)
			b.ReportAllocs()
			var s limit.State
			now := start
			for b.Loop() {
				now++
				_, s = l.Take(s, now, 1)
			}
		})
	}
}
