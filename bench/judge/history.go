package judge

import (
	"fmt"
	"math"

	"weir/api/limit"
	"weir/bench/record"
)

// never is the end of a failed request: it may be charged long after its client
// gave up, when the server or the store comes to it at last.
const never = math.MaxInt64

// A history is the records of one key, in order of start. Times are nanoseconds
// from the history's origin: start is the earliest and end the latest instant, by
// the limiter's own clock, at which the request can have been decided.
type history struct {
	start, end []int64 // start ≤ end; end is never for a failed one
	cost       []int64
	row        []int32 // in the columns
	cols       *columns
	scale      scale
	sharp      bool
	// origin is what time 0 is, in ns since the epoch.
	origin int64
	// known is when the level is first known to be at least 0.
	known int64
	fresh bool
	opt   *Options
}

func (h *history) outcome(i int) record.Outcome { return h.cols.outcome[h.row[i]] }

// tookTokens says that request i surely took tokens.
func (h *history) tookTokens(i int) bool { return h.cost[i] > 0 && h.outcome(i) == record.Admitted }

// interval builds the history of a key from what the client saw.
func (t *trial) interval(rows []int32) (*history, error) {
	h := t.newHistory(rows)
	c, grain, tick := t.cols, int64(t.opt.Granularity), t.opt.tick()
	early := (grain+1)/2 + tick // by how much a recorded sent may be after the earliest tick
	h.origin = c.sent[rows[0]] - early
	h.known = early + grain // the latest instant at which the first request can have been sent
	last := int64(0)
	for i, row := range rows {
		h.start[i] = c.sent[row] - early - h.origin
		h.end[i] = c.done[row] + grain - h.origin
		last = max(last, h.end[i])
		if c.outcome[row] == record.Failed {
			h.end[i] = never
		}
	}
	return h, h.fit(t.opt.Limit, last, t.opt.drift())
}

func (t *trial) newHistory(rows []int32) *history {
	n, s := len(rows), &t.scratch
	h := &history{
		start: sized(&s.start, n), end: sized(&s.end, n), cost: sized(&s.cost, n), row: rows,
		cols: t.cols, fresh: t.opt.Fresh, opt: t.opt,
	}
	for i, row := range rows {
		h.cost[i] = t.cols.cost[row]
	}
	return h
}

// fit chooses the finest scale in which nothing that the checks add up can
// overflow. Last is the latest time of the history.
func (h *history) fit(l limit.Limit, last, ppm int64) error {
	total := float64(l.Capacity)
	for _, c := range h.cost {
		total += float64(c)
	}
	span := float64(last) * (1 + float64(ppm)/1e6)
	for _, step := range []int64{1, 1e3, 1e6, 1e9} {
		perToken := float64(l.Rate.Seconds) * (1e9 / float64(step))
		if total*perToken+span/float64(step)*float64(l.Rate.Tokens) < 1<<60 {
			unit := l.Rate.Seconds * (1e9 / step)
			h.scale = scale{step: step, unit: unit, rate: l.Rate.Tokens, full: l.Capacity * unit, ppm: ppm}
			return nil
		}
	}
	return fmt.Errorf("%.3g tokens over %.3g s at %s cannot be added up exactly", total, float64(last)/1e9, l)
}

// A scale is how a history is counted: time in steps, levels in units.
type scale struct {
	step int64 // ns
	unit int64 // units in a token
	rate int64 // units gained a step
	full int64 // units of a full bucket
	ppm  int64 // drift
}

// drift is how far the limiter's clock may have run ahead of or behind ours by
// time t ≥ 0: t × ppm / 10⁶, rounded down, without overflow.
func (s *scale) drift(t int64) int64 { return t/1e6*s.ppm + t%1e6*s.ppm/1e6 }

// driftUp is drift rounded up.
func (s *scale) driftUp(t int64) int64 { return s.drift(t) + min(s.ppm, 1) }

// The four maps take a time t ≥ 0 into steps of the limiter's clock, were it as
// fast or as slow as drift allows, rounded down or up. Each is monotone. Between
// x and y the limiter counts at most fastUp(y) − fastDown(x) steps and at least
// slowDown(y) − slowUp(x).
func (s *scale) fastDown(t int64) int64 { return s.down(t + s.drift(t)) }
func (s *scale) fastUp(t int64) int64   { return s.up(t + s.driftUp(t)) }
func (s *scale) slowDown(t int64) int64 { return s.down(t - s.driftUp(t)) }
func (s *scale) slowUp(t int64) int64   { return s.up(t - s.drift(t)) }

func (s *scale) down(t int64) int64 {
	if s.step == 1 {
		return t
	}
	q := t / s.step
	if t%s.step < 0 {
		q--
	}
	return q
}

func (s *scale) up(t int64) int64 {
	if s.step == 1 {
		return t
	}
	return s.down(t + s.step - 1)
}

func (s *scale) tokens(units int64) float64 { return float64(units) / float64(s.unit) }

// refill is level after elapsed steps, at most full.
func (s *scale) refill(level, elapsed int64) int64 {
	return min(level+elapsed*s.rate, s.full)
}

// sortByDone returns the requests that surely took tokens, by end.
func (h *history) sortByDone(s *scratch) []int32 {
	n := 0
	perm := sized(&s.perm, len(h.start))
	for i := range h.start {
		if h.tookTokens(i) {
			perm[n] = int32(i)
			n++
		}
	}
	perm = perm[:n]
	sortRows(perm, func(i int32) int64 { return h.end[i] }, s)
	return perm
}
