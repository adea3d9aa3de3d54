package judge

import "math"

// levels bracket the level of a bucket while each request was decided.
//
// # The lower level
//
// Let base be a bucket that takes each admitted request at its end, the latest
// instant at which it can have been decided, and is put back to 0 where that
// would take it below. Let pending(p) be the cost of all requests that can have
// been charged by p and are not yet in base: start ≤ p < end. Failed requests may
// have been charged at any time from their start on; they are pending for good.
// Then the true level L satisfies
//
//	L(p) ≥ base(p) − pending(p).
//
// Proof. Let early(p) be the cost of what was truly charged by p and is not yet in
// base; early ≤ pending. Claim: L + early ≥ base at all times. It holds at the
// start (base is 0, or both are full). While time passes: below capacity, L grows
// as fast as base can; at capacity, L = B ≥ base. A true charge moves its cost
// from L to early. When base takes a request, early and base both lose its cost;
// where base is put back to 0, L ≥ 0 and early ≥ 0. ∎
//
// Base − pending falls only at starts, so its minimum over [start, end] of a
// request is at its own start or at a start within.
//
// After over-admission was proven the true level has no floor, base is then not
// put back to 0, and the limiter is given that defence too.
//
// # The upper level
//
// By (1) of the package's comment, for every u ≤ p,
//
//	L(p) ≤ B + r·(p − u) − (cost surely charged in [u, p]).
//
// The upper bucket takes each admitted request at its end, but only what refilling
// since its start cannot have brought back: cost − r·(end − start), where that is
// above 0. Its level is the minimum over ends u of B + r·(p − u) − (reduced costs
// ending in [u, p]). Let s be the earliest start among those with a reduced cost
// above 0. The reduction of that request alone is r·(end − s) ≥ r·(u − s), so the
// expression is at least B + r·(p − s) − (their full costs), and all of these were
// surely charged in [s, p]: L(p) is not above it. ∎
//
// With points for intervals both buckets are the true one, but for the unknown
// start and failed requests.
type levels struct {
	atStart []int64 // lower level at start i, every request that can be charged by then taken
	lowest  *minTree
	upper   []int64 // upper level at start i, before anything that may not have come first
	h       *history
}

// levels runs both buckets over a history in order of start.
func (t *trial) levels(h *history, byDone []int32, broken bool) *levels {
	n := len(h.start)
	lv := &t.scratch.levels
	lv.h = h
	lv.atStart, lv.upper = sized(&t.scratch.low, n), sized(&t.scratch.high, n)
	low := lowerBucket{s: &h.scale, at: h.scale.slowUp(h.known), floor: 0}
	if h.fresh {
		low.base, low.at = h.scale.full, 0
	}
	if broken {
		low.floor = math.MinInt64 / 2
	}
	high := upperBucket{s: &h.scale, level: h.scale.full}
	lowAt, highAt := 0, 0
	for i := range n {
		p := h.scale.slowDown(h.start[i])
		for lowAt < len(byDone) {
			k := byDone[lowAt]
			end := h.scale.slowUp(h.end[k])
			if end > p || int(k) >= i {
				break
			}
			low.take(end, h.cost[k])
			lowAt++
		}
		low.refill(p)
		if h.tookTokens(i) || h.end[i] == never {
			low.pending += h.cost[i] * h.scale.unit
		}
		lv.atStart[i] = low.base - low.pending

		q := h.scale.fastDown(h.start[i])
		for highAt < len(byDone) {
			k := byDone[highAt]
			end := h.scale.fastUp(h.end[k])
			if end >= q {
				break
			}
			high.take(h.scale.fastDown(h.start[k]), end, h.cost[k])
			highAt++
		}
		high.refill(q)
		lv.upper[i] = high.level
	}
	lv.lowest = t.scratch.lowest.reset(lv.atStart)
	return lv
}

// least is the lowest level at which request i can have been decided, in units,
// its own charge taken if it was admitted.
func (lv *levels) least(i int) int64 {
	return lv.lowest.between(i, lv.h.lastStartBy(i, lv.h.end[i]))
}

// most is the highest level that request i can have met, its own charge not taken.
func (lv *levels) most(i int) int64 {
	s := &lv.h.scale
	return s.refill(lv.upper[i], s.fastUp(lv.h.end[i])-s.fastDown(lv.h.start[i]))
}

// lastStartBy is the last request that starts at or before the given time, which
// is at or after start i. It gallops: the answer is nearly always near.
func (h *history) lastStartBy(i int, time int64) int {
	low, step := i, 1
	for low+step < len(h.start) && h.start[low+step] <= time {
		low += step
		step *= 2
	}
	high := min(low+step, len(h.start)) // start[low] ≤ time < start[high]
	for high-low > 1 {
		middle := (low + high) / 2
		if h.start[middle] <= time {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

type lowerBucket struct {
	s       *scale
	base    int64
	pending int64
	at      int64
	floor   int64
}

func (b *lowerBucket) refill(at int64) {
	if at > b.at {
		b.base = b.s.refill(b.base, at-b.at)
		b.at = at
	}
}

func (b *lowerBucket) take(at, cost int64) {
	b.refill(at)
	b.pending -= cost * b.s.unit
	b.base = max(b.base-cost*b.s.unit, b.floor)
}

type upperBucket struct {
	s     *scale
	level int64
	at    int64
}

func (b *upperBucket) refill(at int64) {
	if at > b.at {
		b.level = b.s.refill(b.level, at-b.at)
		b.at = at
	}
}

func (b *upperBucket) take(start, end, cost int64) {
	b.refill(end)
	// A level below 0 is over-admission, which is told elsewhere.
	b.level = max(b.level-max(cost*b.s.unit-(end-start)*b.s.rate, 0), 0)
}

// A minTree answers for the least value between two positions: blocks that are
// scanned, and a tree of their minima.
type minTree struct {
	values []int64
	node   []int64 // 1 is the root, children of k are 2k and 2k+1
	leaves int
}

func (t *minTree) reset(values []int64) *minTree {
	t.values, t.leaves = values, 1
	for t.leaves*block < len(values) {
		t.leaves *= 2
	}
	t.node = sized(&t.node, 2*t.leaves)
	for i := range t.node {
		t.node[i] = math.MaxInt64
	}
	for i, v := range values {
		leaf := t.leaves + i/block
		t.node[leaf] = min(t.node[leaf], v)
	}
	for k := t.leaves - 1; k >= 1; k-- {
		t.node[k] = min(t.node[2*k], t.node[2*k+1])
	}
	return t
}

// between is the least value in positions i to k, both included.
func (t *minTree) between(i, k int) int64 {
	least := t.values[i]
	for ; i <= k && i%block != 0; i++ {
		least = min(least, t.values[i])
	}
	for ; k >= i && k%block != block-1; k-- {
		least = min(least, t.values[k])
	}
	if i > k {
		return least
	}
	for left, right := t.leaves+i/block, t.leaves+k/block+1; left < right; left, right = left/2, right/2 {
		if left%2 == 1 {
			least = min(least, t.node[left])
			left++
		}
		if right%2 == 1 {
			right--
			least = min(least, t.node[right])
		}
	}
	return least
}
