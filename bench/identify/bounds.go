package identify

import (
	"math"
	"slices"
)

// Bounds are what each answer says of the capacity, if a limiter is of one kind
// with given parameters: an admission needs a capacity of at least so much, a
// throttle needs one below so much. The kind explains the history if and only if
// some whole number satisfies all of them.
type bounds struct {
	needs []float64 // by admission: capacity ≥ need
	caps  []float64 // by throttle: capacity < cap
}

func (b *bounds) reset() { b.needs, b.caps = b.needs[:0], b.caps[:0] }

// low and high bound the capacity: low ≤ capacity < high.
func (b *bounds) low() float64 {
	low := 1.0
	for _, need := range b.needs {
		low = max(low, need)
	}
	return low
}

func (b *bounds) high() float64 {
	high := math.Inf(1)
	for _, most := range b.caps {
		high = min(high, most)
	}
	return high
}

// margin is how far the best whole capacity is within the bounds, at the nearer
// one; at 0 or below it is outside. (It may be as low as low, but not as high as
// high: hence the half.)
func (b *bounds) margin() float64 {
	low, high := b.low(), b.high()
	if math.IsInf(high, 1) {
		return high
	}
	within := func(capacity float64) float64 {
		if capacity < low-rounding {
			return min(high-capacity, capacity-low)
		}
		return min(high-capacity, capacity-low+0.5)
	}
	middle := math.Floor((low + high) / 2)
	return max(within(middle), within(middle+1))
}

// rounding is how much less than a whole number floating point makes of one.
const rounding = 1e-6

// whole returns the least and the most whole capacity within the bounds; least is
// above most where there is none.
func (b *bounds) whole() (least, most float64) {
	return math.Ceil(b.low() - rounding), math.Ceil(b.high()-rounding) - 1
}

// contradictions is how many answers the best capacity leaves unexplained, and
// that capacity.
func (b *bounds) contradictions() (fewest int, capacity Interval) {
	fewest = math.MaxInt
	tried := map[float64]bool{}
	try := func(c float64) {
		if c < 1 || tried[c] || math.IsInf(c, 0) {
			return
		}
		tried[c] = true
		if n := b.against(c); n < fewest {
			fewest, capacity = n, Interval{c, c}
		}
	}
	for _, need := range b.needs {
		try(math.Ceil(need - rounding))
	}
	for _, most := range b.caps {
		try(math.Ceil(most-rounding) - 1)
	}
	return fewest, capacity
}

// against is how many answers speak against a capacity.
func (b *bounds) against(capacity float64) (n int) {
	for _, need := range b.needs {
		if capacity < need-rounding {
			n++
		}
	}
	for _, most := range b.caps {
		if capacity >= most-rounding {
			n++
		}
	}
	return n
}

// bucket fills b for a token bucket of this rate. With N[x, p] the admissions in a
// window, it holds B − level = max over x of N[x, p] − rate·(p − x), so that
//
//	admitted   B ≥ N[x, p] − rate·(p − x) for every x, with the fewest that must lie there
//	throttled  B < 1 + max over x of N[x, p] − rate·(p − x), with the most that may lie there
//
// where the fewest are those whose brackets lie in the window, and the most those
// whose brackets touch it. Both maxima are running ones, as in Lindley's recursion.
func (b *bounds) bucket(h *history, rate float64) {
	b.reset()
	b.bucketNeeds(h, rate)
	best := make([]float64, len(h.admits)+1) // best[n]: the highest rate·to − i of the first n
	best[0] = math.Inf(-1)
	for i, a := range h.admits {
		best[i+1] = max(best[i], rate*a.to-float64(i))
	}
	lacks := make([]float64, len(h.admits)) // the most that may be missing just after each admission
	for k, a := range h.admits {
		lacks[k] = lack(rate, a.from, k+1, h.past[k], best)
	}
	highest := blocksOf(lacks)
	for j, t := range h.throttles {
		at := h.place[j]
		b.caps = append(b.caps, 1+max(lack(rate, t.from, at.begun, at.past, best), highest.between(at.begun, at.reach)))
	}
}

// lack is the most that a bucket may lack of being full at p, with count
// admissions by then of which past are surely earlier.
func lack(rate, p float64, count, past int, best []float64) float64 {
	if past < count { // those that may be right at p
		return max(float64(count-past), float64(count)-rate*p+best[past])
	}
	return max(0, float64(count)-rate*p+best[past])
}

// Blocks find the highest of a stretch of numbers.
type blocks struct{ all, highest []float64 }

const blockSize = 32

func blocksOf(all []float64) blocks {
	b := blocks{all: all, highest: make([]float64, len(all)/blockSize+1)}
	for i, x := range all {
		b.highest[i/blockSize] = max(b.highest[i/blockSize], x)
	}
	return b
}

// between is the highest of numbers from up to, but without, to; 0 for none.
func (b blocks) between(from, to int) (highest float64) {
	for i := from; i < to; {
		if i%blockSize == 0 && i+blockSize <= to {
			highest = max(highest, b.highest[i/blockSize])
			i += blockSize
			continue
		}
		highest = max(highest, b.all[i])
		i++
	}
	return highest
}

func (b *bounds) bucketNeeds(h *history, rate float64) {
	highest := math.Inf(-1)
	for j, a := range h.admits {
		highest = max(highest, rate*a.from-float64(j))
		b.needs = append(b.needs, float64(j+1)-rate*a.to+highest)
	}
}

// log fills b for a log of what was admitted within a window before each request.
func (b *bounds) log(h *history, window float64) {
	b.reset()
	i := 0
	for j, a := range h.admits {
		for i < j && h.admits[i].from <= a.to-window {
			i++
		}
		b.needs = append(b.needs, float64(j-i+1))
	}
	for _, t := range h.throttles {
		most := h.startedBefore(t.to) - h.endedBefore(t.from-window)
		b.caps = append(b.caps, float64(most)+1)
	}
}

// fixed fills b for windows of the clock, one of which begins at phase.
func (b *bounds) fixed(h *history, window, phase float64) {
	b.reset()
	index := func(at float64) float64 { return math.Floor((at - phase) / window) }
	count, current := 0, math.Inf(-1)
	for _, a := range h.admits {
		in := index(a.from)
		if index(a.to) != in {
			continue
		}
		if in != current {
			count, current = 0, in
		}
		count++
		b.needs = append(b.needs, float64(count))
	}
	for _, t := range h.throttles {
		most, by := 0, h.startedBefore(t.to)
		for w := index(t.from); w <= index(t.to); w++ {
			begin := phase + w*window
			end := h.startedBefore(math.Nextafter(begin+window, begin)) // decided before the window's end
			most = max(most, min(by, end)-h.endedBefore(begin))
		}
		b.caps = append(b.caps, float64(most)+1)
	}
}

// counter fills b for windows of the clock, where the last one's admissions count
// by the share of it that a window's length still covers. Some limiters admit while
// that share and this window's admissions are below the capacity (loose), some
// while there is room for one more.
func (b *bounds) counter(h *history, window, phase float64, loose bool) {
	b.reset()
	room := 1.0
	if loose {
		room = rounding
	}
	index := func(at float64) float64 { return math.Floor((at - phase) / window) }
	var begun, ended, before int // of the window that the admissions have come to
	current := math.NaN()
	for j, a := range h.admits {
		in := index(a.from)
		if index(a.to) != in {
			continue
		}
		begin := phase + in*window
		if in != current {
			begun = h.startedBefore(math.Nextafter(begin, math.Inf(-1)))
			ended = h.endedBefore(begin)
			before = max(0, ended-h.startedBefore(math.Nextafter(begin-window, math.Inf(-1))))
			current = in
		}
		share := 1 - (a.to-begin)/window
		b.needs = append(b.needs, float64(before)*share+float64(max(0, j-begun))+room)
	}
	for j, t := range h.throttles {
		most := 0.0
		for w := index(t.from); w <= index(t.to); w++ {
			begin := phase + w*window
			share := 1 - (max(t.from, begin)-begin)/window
			ended := h.endedBefore(begin)
			before := h.startedBefore(begin) - h.endedBefore(begin-window)
			now := min(h.place[j].reach, h.startedBefore(begin+window)) - ended
			most = max(most, float64(before)*share+float64(max(0, now)))
		}
		b.caps = append(b.caps, most+room)
	}
}

// slots fills b for a limit on how many are served at once. Overhead is how long
// an answer takes beside the serving: that long after sending and before the
// answer nothing is sure to be in service.
func (b *bounds) slots(h *history, overhead float64) {
	b.reset()
	var starts, ends []float64 // of what was surely in service
	for i := range h.answers {
		a := &h.answers[i]
		if from, to := a.sent+overhead, a.done-overhead; a.admitted && from < to {
			starts, ends = append(starts, from), append(ends, to)
		}
	}
	b.needs = append(b.needs, overlaps(starts, ends)...)
	for i := range h.answers {
		t := &h.answers[i]
		if t.admitted {
			continue
		}
		most := 0
		for k := range h.answers {
			if a := &h.answers[k]; a.admitted && a.sent <= t.done && a.done >= t.sent {
				most++
			}
		}
		b.caps = append(b.caps, float64(most)+1)
	}
}

// overlaps is how many of the stretches cover each one's beginning.
func overlaps(starts, ends []float64) (counts []float64) {
	slices.Sort(starts)
	slices.Sort(ends)
	over := 0
	for i, start := range starts {
		for ends[over] <= start {
			over++
		}
		counts = append(counts, float64(i+1-over))
	}
	return counts
}
