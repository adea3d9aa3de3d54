package judge_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
)

// The worst limits a judge can be given: rare tokens, no tokens, so many that a
// microsecond holds several, buckets of one, and buckets that never empty.
var nastyRates = []limit.Rate{
	{Tokens: 10, Seconds: 60},
	{Tokens: 1, Seconds: 3600},
	{Tokens: 0, Seconds: 1},
	{Tokens: 1_000_000, Seconds: 1},
	{Tokens: 3, Seconds: 1},
	{Tokens: 5_000_000, Seconds: 1},
	{Tokens: 7, Seconds: 60},
	{Tokens: 1, Seconds: 86400},
	{Tokens: 1000, Seconds: 1},
}

// newNastyWorld is a world with everything that a correct limiter may do and that
// looks like a fault.
func newNastyWorld(seed uint64) *world {
	w := newWorld(seed)
	rng := rand.New(rand.NewPCG(seed, 0xbadc0ffee))
	w.limit = limit.Limit{Capacity: []int64{1, 1, 2, 3, 10, 1 + rng.Int64N(40), 500, 100_000}[rng.IntN(8)], Rate: nastyRates[rng.IntN(len(nastyRates))]}
	w.costs = rng.IntN(2) == 0
	w.grain = []int64{1, 1, 1, 1e6, 1e9}[rng.IntN(5)]
	w.quota = rng.IntN(4) > 0
	w.decided = w.quota && rng.IntN(2) == 0
	w.loss = []float64{0, 0, 0.02, 0.3, 0.6}[rng.IntN(5)]
	n := &nasty{rng: rng, edge: rng.IntN(3) == 0, late: rng.IntN(3) == 0}
	if rng.IntN(2) == 0 {
		n.jitter = rng.Int64N(w.tick) // µs, beside the one that it is rounded down by
	}
	n.digits = rng.IntN(4) // of Remaining
	n.rounding = rng.IntN(3)
	n.none = rng.IntN(3) == 0
	n.dates = rng.IntN(4) == 0
	n.meaning, n.ahead = rng.IntN(13), rng.Int64N(100_000e6)-50_000e6
	switch rng.IntN(4) {
	case 0:
		w.latency = func() int64 { return 0 }
	case 1:
		w.latency = func() int64 { return rng.Int64N(3) * rng.Int64N(3) * 1e6 }
	}
	if rng.IntN(3) == 0 && w.limit.Rate.Tokens > 0 && w.limit.Capacity*w.limit.Rate.Seconds < 1e9 {
		n.gcra = true
		w.decided = w.decided && 1e9*w.limit.Rate.Seconds%w.limit.Rate.Tokens == 0 // else it is not exact, and not promised to be
	}
	w.nasty = n
	return w
}

// nasty is what a world does beyond the ordinary. Its zero value is nothing.
type nasty struct {
	rng      *rand.Rand
	edge     bool                                         // decisions fall on sent or on done, exactly
	late     bool                                         // lost requests are charged up to an hour after their client gave up
	jitter   int64                                        // µs: the clock reads up to so much less, and so steps back
	digits   int                                          // of Remaining
	rounding int                                          // of Remaining: down, nearest, to even
	none     bool                                         // a throttled answer says that nothing remains
	dates    bool                                         // Retry-After is a date
	gcra     bool                                         // a theoretical arrival time in nanoseconds, not a level
	meaning  int                                          // of Reset: 0 to 11, else there is none
	ahead    int64                                        // µs: the clock of a Reset that is a Unix time, beside the limiter's
	spoil    func(*world, *record.Quota, *limit.Decision) // what a Reset is in the end
}

// remaining is how n prints a level.
func (n *nasty) remaining(tokens float64) float64 {
	scale := math.Pow10(n.digits)
	switch n.rounding {
	case 0:
		return math.Floor(tokens*scale) / scale
	case 1:
		return math.Round(tokens*scale) / scale
	}
	return math.RoundToEven(tokens*scale) / scale
}

// gcraTake is the same promise kept by the other usual algorithm, in nanoseconds:
// the interval between tokens is rounded up, as one that is rounded down admits more.
func gcraTake(l limit.Limit, tat *int64) func(limit.State, int64, int64) (limit.Decision, limit.State) {
	gap := (l.Rate.Seconds*1e9 + l.Rate.Tokens - 1) / l.Rate.Tokens
	return func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
		now = max(now, s.At)
		at := now * 1000
		from := max(*tat, at)
		next := from + cost*gap
		d := limit.Decision{DecidedAt: now}
		level := func(t int64) int64 {
			left := l.Capacity*gap - (t - at)
			return left/gap*limit.MicroToken + int64(float64(left%gap)/float64(gap)*limit.MicroToken)
		}
		switch {
		case cost > l.Capacity:
			d.RetryAfter = limit.Never
		case next-at <= l.Capacity*gap:
			d.Allowed = true
			if cost > 0 {
				*tat, s.At, from = next, now, next
			}
		default:
			d.RetryAfter = time.Duration(next - at - l.Capacity*gap)
		}
		d.Remaining, d.ResetAfter = level(from), time.Duration(from-at)
		return d, s
	}
}

func nastyWorlds(t *testing.T, fallback uint64) uint64 {
	if testing.Short() {
		fallback /= 10
	}
	if text := os.Getenv("WEIR_WORLDS"); text != "" { // to look longer than a test may take
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return fallback
}

// No correct limiter is accused in the worst worlds either.
func TestAdversaryFindsNoFalseAccusation(t *testing.T) {
	t.Parallel()
	worlds := nastyWorlds(t, 12_000)
	verdicts, sharp, accused := map[string]int{}, 0, 0
	for seed := range worlds {
		w := newNastyWorld(seed)
		records := w.run("a", 1+w.rng.IntN(120))
		if w.rng.IntN(3) == 0 {
			records = append(records, w.run("b", 40)...)
		}
		v := mustJudge(t, w.options(), records)
		verdicts[v.Verdict]++
		if v.Mode == judge.Sharp {
			sharp++
		}
		if v.Verdict == judge.Broken || v.Headers.Count > 0 {
			text, _ := json.Marshal(v.Headers.Contradictions)
			t.Errorf("seed %d: a correct limiter of %s was accused: %s\n%s\n%+v", seed, w.limit, v.Sentence, text, w.nasty)
			if accused++; accused == 10 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d worlds: %v; %d in sharp mode", worlds, verdicts, sharp)
	if verdicts[judge.Holds] < int(worlds)/10 || sharp < int(worlds)/20 {
		t.Errorf("the worlds are too tame to prove anything: %v, sharp %d", verdicts, sharp)
	}
}

// dress rewrites what an answer says as this world's API does.
func (n *nasty) dress(w *world, r *record.Record, d *limit.Decision, decided int64) {
	q := &r.Quota
	q.Remaining = n.remaining(float64(d.Remaining) / limit.MicroToken)
	if n.none && !d.Allowed {
		q.Remaining, q.FieldLeft = 0, 0
	}
	if d.ResetAfter == limit.Never { // at a rate of 0
		return
	}
	written := max(d.DecidedAt, w.clock(decided+n.rng.Int64N(max(1, r.Done-epoch-decided+1))))
	if n.dates && !d.Allowed && d.RetryAfter != limit.Never { // against the Date at which the answer was written
		until := math.Ceil(float64(d.DecidedAt)/1e6 + d.RetryAfter.Seconds())
		q.RetryAfter = max(0, until-math.Floor(float64(written)/1e6))
	}
	n.reset(w, q, d, written)
	if n.spoil != nil {
		n.spoil(w, q, d)
	}
}

// reset says when the bucket is full, or there is more, or a window of the clock
// ends, in any of the usual ways and rounded in any.
func (n *nasty) reset(w *world, q *record.Quota, d *limit.Decision, written int64) {
	if w.limit.Rate.Tokens == 0 {
		return
	}
	gap := 1e6 / w.limit.Rate.PerSecond() // µs
	wait := float64(d.ResetAfter) / 1e3
	switch n.meaning % 3 {
	case 1:
		wait = gap * max(0, 1-float64(d.Remaining)/limit.MicroToken)
		if !d.Allowed && d.RetryAfter != limit.Never {
			wait = float64(d.RetryAfter) / 1e3
		}
	case 2:
		window := gap * float64(w.limit.Capacity)
		wait = window - math.Mod(float64(d.DecidedAt), window)
	}
	round := []func(float64) float64{math.Floor, math.Ceil, math.Round}[n.rounding]
	q.FieldReset = round(wait / 1e6)
	unit := []float64{1e6, 1e3}[n.meaning%2]
	switch {
	case n.meaning < 6:
		q.Reset = round(wait / unit)
	case n.meaning < 12:
		q.Reset = round((float64(written+n.ahead) + wait) / unit)
	}
}

// Of all usual meanings, the likeliest that fits the records is the one that a Reset
// has; and a Reset that has none is a contradiction. (By the client's clock nothing of
// a burst surely came before the rest of it, so little that is short is ruled out.)
func TestResetIsUnderstood(t *testing.T) {
	t.Parallel()
	l := limit.Limit{Capacity: 30, Rate: limit.Rate{Tokens: 1, Seconds: 2}}
	plain := func(w *world, q *record.Quota, d *limit.Decision) {}
	for _, test := range []struct {
		name    string
		meaning int
		spoil   func(w *world, q *record.Quota, d *limit.Decision)
		fits    string // "" for a contradiction
		why     string
	}{
		{"seconds until full", 0, plain, "seconds until the bucket is full", ""},
		{"milliseconds until more", 1, plain, "milliseconds until there is more", ""},
		{"seconds until a window ends", 2, plain, "seconds until a window ends", ""},
		{"milliseconds until full", 3, plain, "milliseconds until the bucket is full", ""},
		{"seconds until more", 4, plain, "seconds until there is more", ""},
		{"Unix time of full", 6, plain, "the Unix time in seconds at which the bucket is full", ""},
		{"Unix milliseconds of full", 9, plain, "the Unix time in milliseconds at which the bucket is full", ""},
		{"Unix time of more", 10, plain, "the Unix time in seconds at which there is more", ""},
		{"twice the seconds until full", 0, func(_ *world, q *record.Quota, _ *limit.Decision) { q.Reset *= 2 }, "", judge.ResetMeansNothing},
		{"the rate taken for its inverse", 0, func(w *world, q *record.Quota, d *limit.Decision) {
			q.Reset = float64(w.limit.Capacity) - float64(d.Remaining)/limit.MicroToken
		}, "", judge.ResetMeansNothing},
		{"a Unix time that jumps back and forth", 6, func(w *world, q *record.Quota, _ *limit.Decision) {
			q.Reset += float64(w.rng.Int64N(2) * 5)
		}, "", judge.ResetGoesBack},
	} {
		for _, sharp := range []bool{false, true} {
			w := newWorld(1)
			w.limit, w.tick, w.grain, w.drift, w.nearest = l, 1, 1, 0, false
			w.fresh, w.quota, w.decided, w.costs, w.whole, w.loss = true, true, sharp, false, false, 0
			w.latency = func() int64 { return w.rng.Int64N(2e6) }
			w.nasty = &nasty{rng: w.rng, digits: 2, rounding: 1, meaning: test.meaning, spoil: test.spoil}
			v := mustJudge(t, judge.Options{Limit: l, Fresh: true}, w.load("a"))
			reset := v.Headers.Resets[0]
			if test.fits != "" {
				if v.Headers.Count > 0 || len(reset.Fits) == 0 || reset.Fits[0] != test.fits {
					t.Errorf("%s (decision times: %v): fits %q, %s", test.name, sharp, reset.Fits, v.Sentence)
				}
				continue
			}
			if !sharp && test.why == judge.ResetMeansNothing {
				continue
			}
			if v.Headers.Verdict != judge.Broken || len(reset.Fits) > 0 || !slices.ContainsFunc(v.Headers.Contradictions, func(c judge.Contradiction) bool {
				return c.Header == "X-RateLimit-Reset" && strings.HasPrefix(c.Why, test.why)
			}) {
				t.Errorf("%s (decision times: %v): fits %q, %s, %+v", test.name, sharp, reset.Fits, v.Sentence, v.Headers.Contradictions)
			}
		}
	}
}
