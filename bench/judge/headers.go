package judge

import (
	"math"
	"strconv"

	"weir/api/limit"
	"weir/bench/record"
)

// headerNotes hold the headers that need no history against the limit, as the
// records come in.
type headerNotes struct {
	limit limit.Limit
	// other says that some X- or RateLimit-Limit, and otherPolicy that some
	// RateLimit-Policy, counts in other tokens: another limit's, or this one's as so
	// many a window. What is left of those says nothing of the bucket.
	other, otherPolicy bool
	answers            int64   // that carried any of the headers
	window             float64 // s: the longest that a policy of this limit states
	count              int64
	examples           []Contradiction
}

func (n *headerNotes) add(r *record.Record) {
	q := &r.Quota
	l, rate := n.limit, n.limit.Rate.PerSecond()
	capacity := float64(l.Capacity)
	if present(q.Limit) || present(q.Remaining) || present(q.FieldLeft) || present(q.Quota) ||
		present(q.Reset) || present(q.FieldReset) {
		n.answers++
	}
	if present(q.Limit) && q.Limit != capacity {
		n.other = true
		if !perUnit(q.Limit, rate) {
			n.note(r, "X-RateLimit-Limit", q.Limit, capacity)
		}
	}
	if present(q.Rate) && math.Abs(q.Rate-rate) > 0.01 {
		n.other = true
		n.note(r, "X-RateLimit-Rate", q.Rate, rate)
	}
	if present(q.Quota) && q.Quota != capacity {
		n.otherPolicy = true
		if !perWindow(q.Quota, q.Window, rate) {
			n.note(r, "RateLimit-Policy q", q.Quota, capacity)
		}
	}
	if present(q.Quota) && present(q.Window) && !perWindow(q.Quota, q.Window, rate) {
		n.otherPolicy = true
		n.note(r, "RateLimit-Policy w", q.Window, q.Quota/rate)
	}
	if present(q.Window) {
		n.window = max(n.window, min(q.Window, 1e8))
	}
}

func (n *headerNotes) note(r *record.Record, header string, said, want float64) {
	n.count++
	n.examples = appendSome(n.examples, Contradiction{
		Key: r.Key, SentNS: r.Sent, Header: header, Said: said, Limit: finite(want), Why: OtherLimit,
	})
}

// present says that a header was there, with a number in it.
func present(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// perUnit says that n is the rate in some usual unit: 300 for 5/s is 300 a minute.
func perUnit(n, rate float64) bool {
	for _, seconds := range []float64{1, 60, 3600, 86400} {
		if n == math.Ceil(rate*seconds-1e-9) || n == math.Floor(rate*seconds+1e-9) {
			return true
		}
	}
	return false
}

// perWindow says that q tokens in w seconds are the rate, w rounded either way.
func perWindow(q, w, rate float64) bool {
	if math.IsNaN(w) {
		return perUnit(q, rate)
	}
	return rate*(w+1) >= q-1e-9 && rate*(w-1) <= q+1e-9
}

// A remainder holds what answers said is left against the levels, and against each
// other, one request after the other in order of start.
//
//   - above: more than the upper level, less the request's own cost if it was
//     admitted; or no less than the cost of a request that was throttled.
//   - below: less than the whole tokens of the lower level.
//   - rises: more than an answer that was whole before this request was sent said,
//     plus what refilling can have brought since.
//
// An API may round what it says, down or to the nearest, to whole tokens, tenths or
// hundredths: the judge allows for half of the coarsest of these that the number is
// a multiple of, and for the digits it did not keep. It may also say of a throttled
// request that nothing is left, as what is left is not enough for it.
type remainder struct {
	header     string
	column     []float32
	incomplete bool
	earlier    float64 // plus rate·time: the most that an earlier answer leaves possible
	at         int     // of byDone: the next answer that may be an earlier one
}

// remainders are the headers that tell what is left of this limit.
func (t *trial) remainders() (list []remainder) {
	if t.cols.remaining != nil && !t.notes.other {
		list = append(list, remainder{header: "X-RateLimit-Remaining", column: t.cols.remaining, incomplete: t.opt.Incomplete, earlier: math.Inf(1)})
	}
	if t.cols.left != nil && !t.notes.otherPolicy {
		list = append(list, remainder{header: "RateLimit r", column: t.cols.left, incomplete: t.opt.Incomplete, earlier: math.Inf(1)})
	}
	return list
}

// check holds what the answer to request i said against its levels: least after its
// own charge, most before it.
func (r *remainder) check(f *findings, h *history, byDone []int32, i int, least, most int64) {
	s := &h.scale
	rate := float64(s.rate) / float64(s.unit) // tokens a step
	from := s.fastDown(h.start[i])
	for r.at < len(byDone) && s.fastUp(h.end[byDone[r.at]]) < from {
		k := byDone[r.at]
		if said := optional(r.column, h.row[k]); present(said) {
			r.earlier = min(r.earlier, said+2*rounding(said)-rate*float64(s.fastDown(h.start[k])))
		}
		r.at++
	}
	said := optional(r.column, h.row[i])
	if !present(said) {
		return
	}
	taken := int64(0)
	if h.tookTokens(i) {
		taken = h.cost[i] * s.unit
	} else if h.outcome(i) == record.Throttled && h.cost[i]*s.unit <= s.full {
		most = min(most, h.cost[i]*s.unit)
	}
	highest := s.tokens(max(most-taken, 0))
	risen := max(r.earlier+rate*float64(s.fastUp(h.end[i]))-s.tokens(taken), 0)
	lowest := float64(max(least, 0) / s.unit) // in integers: an epsilon of a token can be minutes
	switch slack := rounding(said); {
	case said > highest+slack:
		f.lie(h, i, r.header, said, highest, RemainingAbove)
	case said > risen+slack:
		f.lie(h, i, r.header, said, risen, RemainingRises)
	case said < lowest-digits(lowest) && !r.incomplete && (said > 0 || h.outcome(i) != record.Throttled):
		f.lie(h, i, r.header, said, lowest, RemainingBelow)
	}
}

// rounding is by how much a number of tokens as printed may be above the true one.
func rounding(said float64) float64 {
	for _, step := range []float64{1, 0.1} {
		if math.Abs(said-math.Round(said/step)*step) <= digits(said) {
			return step/2 + digits(said)
		}
	}
	return 0.005 + digits(said)
}

// digits is more than what is lost of x in a float32.
func digits(x float64) float64 { return 1e-6 * max(1, math.Abs(x)) }

func (f *findings) lie(h *history, i int, header string, said, want float64, why string) {
	f.lied++
	if short, err := strconv.ParseFloat(strconv.FormatFloat(said, 'g', -1, 32), 64); err == nil {
		said = short // as it was printed
	}
	f.lies = appendSome(f.lies, Contradiction{
		Key: f.key, SentNS: h.cols.sent[h.row[i]], Header: header, Said: said, Limit: want, Why: why,
	})
}
