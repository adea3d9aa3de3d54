package judge

import (
	"math"
	"sort"

	"weir/bench/record"
)

// retryFindings are about Retry-After. A throttled request that carries it was
// promised that its tokens will be there after so many seconds, if nobody else
// takes any meanwhile.
type retryFindings struct {
	promises int64
	early    int64 // promises proved too short from the level
	late     int64 // promises proved longer than the next whole second
	vain     int64 // requests that waited as told, alone, and were throttled again
	kept     int64 // requests that waited as told and were admitted
	errors   [len(errorEdges) + 1]int64
	most     float64 // s, the latest
	least    float64 // s, the earliest; below 0
	examples []BrokenPromise
}

// errorEdges divide the histogram of promise − need, in seconds. An exact limiter
// that rounds up to whole seconds is always in [0, 1).
var errorEdges = [...]float64{-10, -1, -0.1, -0.001, 0, 0.1, 0.5, 1, 2, 10, 60}

// promised is the wait in ns that request i was told, −1 when none was. A fraction
// of a second comes from a date and another clock: nothing is proved from it. Nor is
// anything from half a year and more, whose last seconds the columns do not keep.
func (h *history) promised(i int) int64 {
	after := optional(h.cols.after, h.row[i])
	if after != math.Trunc(after) || after >= 1<<24 { // NaN is not equal to itself
		return -1
	}
	return int64(after) * 1e9
}

// answered is the longest time in ns, by the limiter's clock, from the end of request
// i until its answer was there: a wait counts from the answer (RFC 9110 §10.2.3), and
// one that was sent as a date counts from when the answer was written. Where the end
// is that of the answer, it is 0.
func (h *history) answered(i int) int64 {
	if !h.sharp {
		return 0
	}
	row := h.row[i]
	took := h.cols.done[row] - h.cols.sent[row] + int64(h.opt.Granularity) + h.opt.tick()
	return took + took/1e6*h.opt.drift() + h.opt.drift()
}

// promise holds the Retry-After of throttled request i against the levels. With
// the level between least and most when it was decided, it has to wait between
// (cost − most)/r and (cost − least)/r.
func (f *findings) promise(h *history, i int, least, most int64) {
	wait := h.promised(i)
	if wait < 0 {
		return
	}
	f.retry.promises++
	s := &h.scale
	cost := h.cost[i] * s.unit
	need := func(level int64) float64 {
		switch {
		case level >= cost:
			return 0
		case cost > s.full || s.rate == 0:
			return math.Inf(1)
		}
		return float64(cost-level) / float64(s.rate) * float64(s.step) / 1e9
	}
	more := h.answered(i)
	short := cost > s.full || waited(s, most, wait+more) < cost
	seconds := float64(wait) / 1e9
	atLeast, atMost := seconds-need(least), seconds+float64(more)/1e9-need(most)
	switch {
	case short:
		f.retry.early++
		f.retry.examples = appendSome(f.retry.examples, BrokenPromise{
			Key: f.key, SentNS: h.cols.sent[h.row[i]], RetryAfter: seconds, NeededSeconds: finite(need(most)), Why: PromiseTooShort,
		})
		f.retry.measure(min(atMost, 0))
	case atLeast >= 1:
		f.retry.late++
		fallthrough
	default:
		f.retry.measure(max(atLeast, 0))
	}
}

// waited is the level after a wait, rounded up: the defence has the benefit.
func waited(s *scale, level, wait int64) int64 {
	steps := s.up(wait)
	if s.rate > 0 && steps > (s.full-level)/s.rate {
		return s.full
	}
	return level + steps*s.rate
}

// measure notes what is proved of promise − need: 0 when either may be larger.
func (r *retryFindings) measure(seconds float64) {
	if math.IsInf(seconds, 0) {
		return
	}
	at := 0
	for at < len(errorEdges) && seconds >= errorEdges[at] {
		at++
	}
	r.errors[at]++
	r.most, r.least = max(r.most, seconds), min(r.least, seconds)
}

// retries looks for requests that came after a promised wait and were throttled
// again though nobody else can have taken a token since. Request j was throttled
// and promised a wait; k came later, costs no more, and waited. The promise was
// broken if every admitted request that can have been decided before k
// (start ≤ end of k) surely was before j (end < start of j), and no failed one can
// have been charged before k.
//
// For each k the latest end among the former says from where on j must start; of
// the j from there on, the one whose wait is over first is the one to hold against.
// Only the j of the highest cost are held: with one cost for all that is every j.
func (t *trial) retries(f *findings, h *history) {
	if f.retry.promises == 0 {
		return
	}
	s, n := &h.scale, len(h.start)
	highest := int64(0)
	for i := range n {
		if h.outcome(i) == record.Throttled {
			highest = max(highest, h.cost[i])
		}
	}
	due := sized(&t.scratch.one, n+1) // due[i]: the earliest instant at which a wait of j ≥ i is over
	due[n] = never
	for i := n - 1; i >= 0; i-- {
		due[i] = due[i+1]
		if h.outcome(i) != record.Throttled || h.cost[i] < highest {
			continue
		}
		if wait := h.promised(i); wait >= 0 {
			due[i] = min(due[i], s.slowUp(h.end[i])+s.up(wait+h.answered(i)))
		}
	}
	latest := sized(&t.scratch.two, n) // latest[i]: the latest end of admitted requests up to i; never for a failed one
	sofar := int64(-1)
	for i := range n {
		if h.tookTokens(i) || h.end[i] == never && h.cost[i] > 0 {
			sofar = max(sofar, h.end[i])
		}
		latest[i] = sofar
	}
	for k := range n {
		switch h.outcome(k) {
		case record.Throttled:
			if h.cost[k] <= t.opt.Limit.Capacity {
				f.retried(h, k, due, latest)
			}
		case record.Admitted:
			if k > 0 && h.outcome(k-1) == record.Throttled {
				if wait := h.promised(k - 1); wait >= 0 && s.slowUp(h.end[k-1])+s.up(wait+h.answered(k-1)) <= s.slowDown(h.start[k]) {
					f.retry.kept++
				}
			}
		case record.Failed:
		}
	}
}

func (f *findings) retried(h *history, k int, due, latest []int64) {
	before := latest[h.lastStartBy(k, h.end[k])]
	if before == never {
		return
	}
	from := sort.Search(len(h.start), func(i int) bool { return h.start[i] > before })
	// Strictly: at the very instant k may have been decided before j was.
	if due[from] >= h.scale.slowDown(h.start[k]) {
		return
	}
	f.retry.vain++
	f.retry.examples = appendSome(f.retry.examples, BrokenPromise{
		Key: f.key, SentNS: h.cols.sent[h.row[k]], RetryAfter: math.Max(float64(h.promised(k))/1e9, 0), Why: PromiseInVain,
	})
}

// sharpen prefers what the sharp history of the same key says: its levels are
// exact. Retries in vain are proved by either.
func (r *retryFindings) sharpen(sharp *retryFindings) {
	vain, early, examples := max(r.vain, sharp.vain), max(r.early, sharp.early), r.examples
	if len(sharp.examples) >= len(examples) {
		examples = sharp.examples
	}
	*r = *sharp
	r.vain, r.early, r.examples = vain, early, examples
}

func (r *retryFindings) merge(more *retryFindings) {
	r.promises += more.promises
	r.early += more.early
	r.late += more.late
	r.vain += more.vain
	r.kept += more.kept
	for i, n := range more.errors {
		r.errors[i] += n
	}
	r.most, r.least = max(r.most, more.most), min(r.least, more.least)
	r.examples = appendSome(r.examples, more.examples...)
}

func (r *retryFindings) report() RetryAfter {
	out := RetryAfter{
		Promises: r.promises, Broken: r.early + r.vain, TooEarly: r.early, InVain: r.vain, TooLate: r.late, Kept: r.kept,
		EarliestSeconds: r.least, LatestSeconds: r.most, Witnesses: r.examples, Errors: []ErrorBucket{},
	}
	for i, n := range r.errors {
		b := ErrorBucket{Count: n}
		if i > 0 {
			b.From = &errorEdges[i-1]
		}
		if i < len(errorEdges) {
			b.To = &errorEdges[i]
		}
		if n > 0 {
			out.Errors = append(out.Errors, b)
		}
	}
	return out
}

// finite is x for JSON, which knows no infinity: −1 stands for it.
func finite(x float64) float64 {
	if math.IsInf(x, 0) {
		return -1
	}
	return x
}
