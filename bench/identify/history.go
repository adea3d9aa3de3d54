package identify

import (
	"math"
	"slices"

	"weir/bench/record"
)

// A span is an interval of time in seconds since the first request: a request was
// decided at an unknown instant between from and to.
type span struct{ from, to float64 }

// An answer is one answered request.
type answer struct {
	span // where it was decided

	sent, done float64
	admitted   bool
	quota      *record.Quota
}

// A history is what was answered to one client, in the order of sending. Requests
// that failed are left out: whether they were charged is unknown.
//
// Which of two admitted requests was decided first does not matter to any
// limiter of unit costs: they are alike. So the sorted beginnings and the sorted
// ends of their intervals, paired in order, bracket the instants of the first
// admission, the second, and so on; and every bound on capacity follows from
// these brackets.
type history struct {
	answers   []answer
	admits    []span // the k-th admission lies in admits[k]; both ends ascend
	throttles []span // in the order of sending
	sharp     bool   // spans are the limiter's own decision times
	failed    int

	// Where things lie among the admissions, so that bounds need not search:
	past  []int    // by admission: how many were surely decided before it could be
	place []places // by throttle
}

// Places are how many admissions were surely decided before a throttle could be,
// and how many can have been decided by its beginning and by its end.
type places struct{ past, begun, reach int }

// tickWidth is how much the limiter's clock may lag behind ours by standing still,
// where its decision times are compared with ours.
const tickWidth = 1e-3

// newHistory reads the answers among records. Slack widens every interval at
// both ends, for limiters whose clock has ticks.
func newHistory(records []record.Record, origin int64, slack float64) *history {
	h := &history{}
	for i := range records {
		r := &records[i]
		if r.Outcome == record.Failed {
			h.failed++
			continue
		}
		a := answer{
			sent: float64(r.Sent-origin) / 1e9, done: float64(r.Done-origin) / 1e9,
			admitted: r.Outcome == record.Admitted, quota: &r.Quota,
		}
		a.span = span{a.sent - slack, a.done + slack}
		h.answers = append(h.answers, a)
	}
	h.sharpen(origin)
	h.split()
	return h
}

// sharpen takes the limiter's decision times for the intervals, where all answers
// carry one and one difference between the two clocks explains them all.
func (h *history) sharpen(origin int64) {
	least, most := math.Inf(-1), math.Inf(1)
	for i := range h.answers {
		a := &h.answers[i]
		if a.quota.DecidedAt == 0 {
			return
		}
		at := float64(a.quota.DecidedAt-origin/1000) / 1e6
		least, most = max(least, a.sent-at), min(most, a.done-at)
	}
	if len(h.answers) == 0 || least > most+tickWidth {
		return
	}
	h.sharp = true
	for i := range h.answers {
		at := float64(h.answers[i].quota.DecidedAt-origin/1000) / 1e6
		h.answers[i].span = span{at, at}
	}
	slices.SortStableFunc(h.answers, func(a, b answer) int { return int(a.quota.DecidedAt - b.quota.DecidedAt) })
}

// split sorts the answers into admits and throttles.
func (h *history) split() {
	h.admits, h.throttles = h.admits[:0], h.throttles[:0]
	var ends []float64
	for i := range h.answers {
		a := &h.answers[i]
		if a.admitted {
			h.admits = append(h.admits, a.span)
			ends = append(ends, a.to)
		} else {
			h.throttles = append(h.throttles, a.span)
		}
	}
	slices.SortFunc(h.admits, func(a, b span) int { return compare(a.from, b.from) })
	slices.Sort(ends)
	for k := range h.admits {
		h.admits[k].to = ends[k]
	}
	h.past, h.place = make([]int, len(h.admits)), make([]places, len(h.throttles))
	for k, a := range h.admits {
		h.past[k] = min(h.endedBefore(a.from), k+1)
	}
	for j, t := range h.throttles {
		begun := h.startedBefore(t.from)
		h.place[j] = places{min(h.endedBefore(t.from), begun), begun, h.startedBefore(t.to)}
	}
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// length is the time from the first answer to the last.
func (h *history) length() float64 {
	if len(h.answers) == 0 {
		return 0
	}
	return h.answers[len(h.answers)-1].to - h.answers[0].from
}

// upTo is the history before an instant: the throttles surely decided by then, and
// every admission that can have been.
func (h *history) upTo(end float64) *history {
	part := &history{sharp: h.sharp}
	for i := range h.answers {
		if a := &h.answers[i]; a.to <= end || a.admitted && a.from <= end {
			part.answers = append(part.answers, *a)
		}
	}
	part.split()
	return part
}

// startedBefore is how many admissions can have been decided by an instant.
func (h *history) startedBefore(at float64) int {
	low, high := 0, len(h.admits)
	for low < high { // not sort.Search: fits ask for it millions of times
		if middle := (low + high) / 2; h.admits[middle].from <= at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// endedBefore is how many admissions were surely decided before an instant.
func (h *history) endedBefore(at float64) int {
	low, high := 0, len(h.admits)
	for low < high {
		if middle := (low + high) / 2; h.admits[middle].to < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
