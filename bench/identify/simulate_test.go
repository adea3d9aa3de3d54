package identify

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/bench/attack"
	"weir/bench/record"
)

// A world is an API behind a network, whose time is only computed: requests take
// as long as they would, and nobody waits.
type world struct {
	now    int64
	random *rand.Rand
	jitter time.Duration // a request and its answer take up to this together, beside 200 µs
	blind  bool          // answers do not carry decision times
	tell   bool          // throttles carry Retry-After
	decide func(key string, at int64) (d limit.Decision, hold int64)
	keyOf  func(call attack.Call) string
	sent   int
}

func (w *world) Now() int64 { return w.now }
func (w *world) Warm(int)   {}

// Do decides the requests in the order in which they arrive.
func (w *world) Do(_ context.Context, calls []attack.Call) []record.Record {
	type flight struct {
		at, back int64
		i        int
	}
	var flights []flight
	records := make([]record.Record, 0, len(calls))
	for _, call := range calls {
		if call.Target == attack.NoTarget {
			w.now = max(w.now, call.At)
			continue
		}
		w.now = max(w.now+5_000, call.At) // a sender takes 5 µs for each
		there := 100_000 + w.random.Int64N(int64(w.jitter)/2+1)
		back := 100_000 + w.random.Int64N(int64(w.jitter)/2+1)
		flights = append(flights, flight{w.now + there, back, len(records)})
		records = append(records, record.Record{Sent: w.now, Key: w.keyOf(call), Quota: record.NoQuota})
		w.sent++
	}
	slices.SortFunc(flights, func(a, b flight) int { return int(a.at - b.at) })
	for _, f := range flights {
		r := &records[f.i]
		d, hold := w.decide(r.Key, f.at/1000)
		r.Done, r.Outcome, r.Status = f.at+hold*1000+f.back, record.Throttled, 429
		if d.Allowed {
			r.Outcome, r.Status = record.Admitted, 200
		} else if w.tell && d.RetryAfter > 0 {
			r.Quota.RetryAfter = float64((d.RetryAfter + time.Second - 1) / time.Second)
		}
		if !w.blind {
			r.Quota.DecidedAt = d.DecidedAt
		}
		r.Key = ""
		w.now = max(w.now, r.Done)
	}
	return records
}

// newWorld puts a limiter of a kind into a world.
func newWorld(t testing.TB, kind string, l limit.Limit, seed uint64, jitter time.Duration, blind bool) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 7)), jitter: jitter, blind: blind, tell: true,
		keyOf: func(call attack.Call) string { return call.Source },
	}
	clock := limittest.NewClock()
	w.now = clock.Now()*1000 + w.random.Int64N(int64(time.Minute))
	wide := (l.Capacity*l.Rate.Seconds*1e6 + l.Rate.Tokens - 1) / l.Rate.Tokens // µs that bring the capacity
	switch kind {
	case LeakyQueue:
		turns, step := map[string]int64{}, (l.Rate.Seconds*1e6+l.Rate.Tokens-1)/l.Rate.Tokens
		w.decide = func(key string, at int64) (limit.Decision, int64) {
			turn := max(at, turns[key])
			d := limit.Decision{DecidedAt: at, Allowed: turn-at <= l.Capacity*step}
			if !d.Allowed {
				return d, 0
			}
			turns[key] = turn + step
			return d, turn - at
		}
	case Concurrency:
		ends := map[string][]int64{}
		w.decide = func(key string, at int64) (limit.Decision, int64) {
			ends[key] = slices.DeleteFunc(ends[key], func(end int64) bool { return end <= at })
			if len(ends[key]) >= int(l.Capacity) {
				return limit.Decision{DecidedAt: at, RetryAfter: limit.Never}, 0
			}
			ends[key] = append(ends[key], at+wide)
			return limit.Decision{DecidedAt: at, Allowed: true}, wide
		}
	default:
		i := slices.IndexFunc(limittest.Kinds, func(k limittest.Kind) bool { return k.Name == kind })
		limiter := limittest.Kinds[i].New(t, l, clock)
		w.decide = func(key string, at int64) (limit.Decision, int64) {
			clock.Move(time.Duration(at-clock.Now()) * time.Microsecond)
			d, err := limiter.Take(t.Context(), key, 1)
			if err != nil {
				t.Fatal(err)
			}
			return d, 0
		}
	}
	return w
}
