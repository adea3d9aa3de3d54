package judge_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
)

// A world is one simulated limiter, its network and its clients. Everything in it
// comes from its seed.
type world struct {
	rng     *rand.Rand
	limit   limit.Limit
	tick    int64   // µs: the limiter reads a clock that stands still so long
	drift   float64 // the limiter's second is 1 + drift of ours
	grain   int64   // ns: recorded instants are rounded down to it
	nearest bool    // … or to the nearest
	offset  int64   // µs: the limiter's clock minus ours
	fresh   bool
	decided bool // answers carry decision times
	whole   bool // Remaining in whole tokens
	quota   bool // answers carry headers
	costs   bool
	loss    float64
	latency func() int64 // one way, ns
	// take decides; nil is a correct bucket. Retry rounds a wait to what is sent;
	// nil is up, and at least 1.
	take  func(state limit.State, now, cost int64) (limit.Decision, limit.State)
	retry func(seconds float64) float64
	nasty *nasty // nil is nothing beyond the ordinary
}

var rates = []limit.Rate{{Tokens: 1, Seconds: 1}, {Tokens: 5, Seconds: 1}, {Tokens: 1, Seconds: 6}, {Tokens: 100, Seconds: 3}, {Tokens: 1000, Seconds: 1}, {Tokens: 0, Seconds: 1}, {Tokens: 50000, Seconds: 1}}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	w := &world{rng: rng}
	w.limit = limit.Limit{Capacity: 1 + rng.Int64N(1<<rng.IntN(9)), Rate: rates[rng.IntN(len(rates))]}
	w.tick = []int64{1, 1, 1, 100, 1000}[rng.IntN(5)]
	w.drift = []float64{0, 0, 2e-4, -2e-4, 1e-4}[rng.IntN(5)]
	w.grain = []int64{1, 1, 1000, 1e6, 1e8}[rng.IntN(5)]
	w.nearest = rng.IntN(3) == 0
	w.offset = rng.Int64N(2_000_000) - 1_000_000
	w.fresh = rng.IntN(2) == 0
	w.quota = rng.IntN(3) > 0
	w.decided = w.quota && rng.IntN(2) == 0
	w.whole = rng.IntN(2) == 0
	w.costs = rng.IntN(3) == 0
	w.loss = []float64{0, 0, 0.01, 0.2}[rng.IntN(4)]
	scale := math.Pow(10, 3+rng.Float64()*6) // 1 µs to 1 s
	switch rng.IntN(4) {
	case 0:
		w.latency = func() int64 { return int64(scale) } // equal for all: reordering never
	case 1:
		w.latency = func() int64 { return int64(scale * rng.Float64()) }
	case 2:
		w.latency = func() int64 { return int64(math.Min(scale*math.Pow(rng.Float64(), -1.2), 1e11)) } // heavy tail
	default:
		w.latency = func() int64 { return int64(rng.ExpFloat64() * scale) }
	}
	return w
}

// clock is what the limiter reads at our instant, in µs.
func (w *world) clock(ns int64) int64 {
	t := int64(float64(ns)*(1+w.drift)/1e3) + w.offset + epoch/1000
	if n := w.nasty; n != nil && n.jitter > 0 {
		return t - w.rng.Int64N(n.jitter+1) // it steps back, and is never wrong by more than a tick
	}
	return t / w.tick * w.tick
}

// times are when n requests are sent, in ns: steady, bursts, ties, or all at once.
func (w *world) times(n int) []int64 {
	rate := w.limit.Rate.PerSecond()
	if rate == 0 {
		rate = 1
	}
	gap := 1e9 / rate / []float64{0.5, 1, 2, 10}[w.rng.IntN(4)]
	kind := w.rng.IntN(4)
	out, at := make([]int64, n), 0.0
	for i := range out {
		switch kind {
		case 0:
			at += gap
		case 1:
			at += w.rng.ExpFloat64() * gap
		case 2: // bursts
			if w.rng.IntN(20) == 0 {
				at += gap * 20
			}
		case 3: // ties and idling
			if w.rng.IntN(3) == 0 {
				at += gap * float64(w.rng.IntN(8))
			}
		}
		out[i] = int64(at)
	}
	return out
}

const epoch = 1_700_000_000_000_000_000 // ns: when our clock begins

type event struct {
	at  int64 // ns, when the limiter decides
	rec int
}

// run plays n requests of one key against the limiter.
func (w *world) run(key string, n int) []record.Record { return w.play(key, w.times(n)) }

// load plays what shows faults: at ten times the rate for 4 s, then 20 bursts after
// idling.
func (w *world) load(key string) []record.Record {
	gap := 1e9 / w.limit.Rate.PerSecond()
	var times []int64
	at := 0.0
	for ; at < 4e9; at += gap / 10 {
		times = append(times, int64(at))
	}
	for range 20 {
		at += gap * float64(w.limit.Capacity+5)
		for range 2 * w.limit.Capacity {
			times = append(times, int64(at))
		}
	}
	return w.play(key, times)
}

func (w *world) play(key string, times []int64) []record.Record {
	n := len(times)
	records := make([]record.Record, n)
	var events []event
	for i, at := range times {
		out, back := w.latency(), w.latency()
		cost := int64(1)
		if w.costs {
			cost = w.rng.Int64N(w.limit.Capacity + 2)
		}
		r := &records[i]
		*r = record.Record{Seq: uint64(i), Key: key, Cost: cost, Planned: epoch + at, Sent: epoch + at, Done: epoch + at + out + back, Quota: record.NoQuota}
		decide := at + out
		if n := w.nasty; n != nil && n.edge {
			decide = []int64{at, at + out + back}[n.rng.IntN(2)]
		}
		if w.rng.Float64() < w.loss {
			switch w.rng.IntN(3) {
			case 0: // never arrives
				r.Done = epoch + at + w.latency()
				continue
			case 1: // decided after the client gave up
				r.Done = epoch + at + out/2
				if w.nasty != nil && w.nasty.late {
					decide += w.nasty.rng.Int64N(int64(math.Pow(10, 1+11*w.nasty.rng.Float64())))
				}
			case 2: // the answer is lost
			}
			events = append(events, event{decide, i})
			continue
		}
		r.Outcome = record.Throttled // to be decided
		events = append(events, event{decide, i})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	w.decide(records, events)
	for i := range records {
		r := &records[i]
		half := int64(0)
		if w.nearest {
			half = w.grain / 2
		}
		r.Sent, r.Planned = (r.Sent+half)/w.grain*w.grain, (r.Planned+half)/w.grain*w.grain
		r.Done = (r.Done + half) / w.grain * w.grain
	}
	w.rng.Shuffle(n, func(i, k int) {
		if w.costs { // order of arrival must not matter
			records[i], records[k] = records[k], records[i]
		}
	})
	return records
}

func (w *world) decide(records []record.Record, events []event) {
	state := limit.State{}
	if !w.fresh { // whatever others took was taken before the first request was sent
		level := w.rng.Int64N(w.limit.Capacity*w.limit.Rate.Seconds*limit.MicroToken + 1)
		state = limit.State{At: w.clock(0), Level: level, Seconds: w.limit.Rate.Seconds}
	}
	take, retry := w.take, w.retry
	if take == nil {
		take = w.limit.Take
	}
	if w.nasty != nil && w.nasty.gcra && w.take == nil {
		tat := int64(0)
		if !w.fresh {
			tat = state.At*1000 + w.rng.Int64N(int64(float64(w.limit.Capacity)*1e9/w.limit.Rate.PerSecond()))
		}
		take = gcraTake(w.limit, &tat)
	}
	if retry == nil {
		retry = func(seconds float64) float64 { return max(1, math.Ceil(seconds)) }
	}
	for _, e := range events {
		r := &records[e.rec]
		var d limit.Decision
		d, state = take(state, w.clock(e.at), r.Cost)
		if r.Outcome == record.Failed {
			continue
		}
		if d.Allowed {
			r.Outcome = record.Admitted
		}
		if !w.quota {
			continue
		}
		q := &r.Quota
		if w.decided {
			q.DecidedAt = d.DecidedAt
		}
		q.Limit, q.Rate = float64(w.limit.Capacity), math.Round(w.limit.Rate.PerSecond()*100)/100
		left := float64(d.Remaining) / limit.MicroToken
		q.Remaining, q.FieldLeft = math.Round(left*100)/100, math.Floor(left)
		if w.whole {
			q.Remaining = math.Floor(left)
		}
		if !d.Allowed && d.RetryAfter != limit.Never {
			q.RetryAfter = retry(d.RetryAfter.Seconds())
		}
		if w.nasty != nil {
			w.nasty.dress(w, r, &d, e.at)
		}
	}
}

func (w *world) options() judge.Options {
	return judge.Options{
		Limit: w.limit, Fresh: w.fresh, Granularity: time.Duration(w.grain / 1000 * 1000), // 1 ns is none
		Tick: time.Duration(w.tick) * time.Microsecond, Drift: 210,
	}
}
