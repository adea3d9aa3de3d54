package judge_test

import (
	"encoding/json"
	"math"
	"testing"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
)

func mustJudge(t testing.TB, opt judge.Options, records []record.Record) *judge.Verdict {
	t.Helper()
	j, err := judge.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(records); err != nil {
		t.Fatal(err)
	}
	return j.Verdict()
}

// No correct limiter is accused, whatever its parameters, its clock, the network
// and the load: each seed is another world.
func TestCorrectLimiterIsNeverAccused(t *testing.T) {
	t.Parallel()
	worlds := uint64(12_000)
	if testing.Short() {
		worlds = 1000
	}
	verdicts, sharp, retries := map[string]int{}, 0, int64(0)
	for seed := range worlds {
		w := newWorld(seed)
		n := 1 + w.rng.IntN(120)
		records := w.run("a", n)
		if w.rng.IntN(3) == 0 {
			records = append(records, w.run("b", n/2+1)...)
		}
		v := mustJudge(t, w.options(), records)
		verdicts[v.Verdict]++
		retries += v.RetryAfter.Promises
		if v.Mode == judge.Sharp {
			sharp++
		}
		if v.Verdict == judge.Broken || v.Headers.Count > 0 {
			text, _ := json.MarshalIndent(v, "", "  ")
			t.Fatalf("seed %d: a correct limiter of %s was accused: %s", seed, w.limit, text)
		}
	}
	t.Logf("%d worlds: %v; %d in sharp mode; %d promises", worlds, verdicts, sharp, retries)
	if verdicts[judge.Holds] < int(worlds)/5 || sharp < int(worlds)/20 || retries == 0 {
		t.Errorf("the worlds are too tame to prove anything: %v, sharp %d, promises %d", verdicts, sharp, retries)
	}
}

// Each fault is caught by the check that is named for it, and by its own light: the
// world around it is the same in which the correct limiter is found to hold.
func TestFaultsAreCaught(t *testing.T) {
	t.Parallel()
	l := limit.Limit{Capacity: 10, Rate: limit.Rate{Tokens: 50, Seconds: 1}}
	over := func(v *judge.Verdict) bool { return v.OverAdmission.Verdict == judge.Broken }
	wrong := func(v *judge.Verdict) bool { return v.Throttling.Verdict == judge.Broken }
	early := func(v *judge.Verdict) bool { return v.RetryAfter.Verdict == judge.Broken }
	headers := func(v *judge.Verdict) bool { return v.Headers.Verdict == judge.Broken }
	type take = func(limit.State, int64, int64) (limit.Decision, limit.State)
	for _, test := range []struct {
		name  string
		sharp bool // only decision times show it
		take  take
		retry func(float64) float64
		check func(*judge.Verdict) bool
	}{
		{name: "correct", check: func(v *judge.Verdict) bool { return v.Verdict == judge.Holds && v.Headers.Count == 0 }},
		{name: "burst off by one", check: over, take: limit.Limit{Capacity: 11, Rate: l.Rate}.Take},
		{name: "burst one short", check: wrong, take: limit.Limit{Capacity: 9, Rate: l.Rate}.Take},
		{name: "rate 2 % high", check: over, take: limit.Limit{Capacity: 10, Rate: limit.Rate{Tokens: 51, Seconds: 1}}.Take},
		{name: "rate 2 % low", check: wrong, take: limit.Limit{Capacity: 10, Rate: limit.Rate{Tokens: 49, Seconds: 1}}.Take},
		{name: "double charge", check: wrong, take: func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
			d, s := l.Take(s, now, cost)
			_, s = l.Take(s, now, cost)
			return d, s
		}},
		{name: "one charge in fifty lost", check: over, take: func() take {
			n := 0
			return func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
				d, next := l.Take(s, now, cost)
				if n++; d.Allowed && n%50 == 0 {
					next = s
				}
				return d, next
			}
		}()},
		{name: "every second decision by another bucket", check: over, take: func() take {
			var states [2]limit.State
			n := 0
			return func(_ limit.State, now, cost int64) (d limit.Decision, _ limit.State) {
				n++
				if now < states[n%2].At {
					states = [2]limit.State{} // the next run
				}
				d, states[n%2] = l.Take(states[n%2], now, cost)
				return d, limit.State{}
			}
		}()},
		{name: "fixed window", check: over, take: func(s limit.State, now, _ int64) (limit.Decision, limit.State) {
			if s.At/1e6 != now/1e6 { // a new second
				s = limit.State{At: now, Level: 60}
			}
			d := limit.Decision{Allowed: s.Level > 0, DecidedAt: now, Remaining: s.Level * limit.MicroToken}
			s.Level = max(s.Level-1, 0)
			return d, s
		}},
		{name: "a hundred thousandth of a token lost", sharp: true, check: wrong, take: func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
			d, s := l.Take(s, now, cost)
			if s.Level < 9*limit.MicroToken {
				s.Level -= 10
			}
			return d, s
		}},
		{name: "retry-after rounded down", check: early, retry: math.Floor},
		{name: "one more remaining", check: headers, take: func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
			d, s := l.Take(s, now, cost)
			d.Remaining += limit.MicroToken
			return d, s
		}},
		{name: "remaining stuck at 0", check: headers, take: func(s limit.State, now, cost int64) (limit.Decision, limit.State) {
			d, s := l.Take(s, now, cost)
			d.Remaining = 0
			return d, s
		}},
	} {
		for _, sharp := range []bool{false, true} {
			if test.sharp && !sharp {
				continue
			}
			w := newWorld(1)
			w.limit, w.tick, w.grain, w.drift, w.nearest = l, 1, 1, 0, false
			w.fresh, w.quota, w.decided, w.costs, w.whole, w.loss = true, true, sharp, false, false, 0
			w.latency = func() int64 { return w.rng.Int64N(2e6) }
			w.take, w.retry = test.take, test.retry
			v := mustJudge(t, judge.Options{Limit: l, Fresh: true}, w.load("a"))
			if !test.check(v) {
				t.Errorf("%s (decision times: %v) was not caught: %s", test.name, sharp, v.Sentence)
			}
		}
	}
}
