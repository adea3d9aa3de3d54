package judge

import (
	"math"
	"slices"
)

// A window is the fullest one of a key: of all windows, the one in which the
// admitted tokens exceed the bound by most, or come nearest to it.
type window struct {
	first  int     // the request whose start opens it
	last   int32   // the request whose end closes it
	inside []int32 // the requests in it, by end, only where some are too many
	count  int64   // requests in it
	tokens int64   // what they cost
	excess int64   // units above the bound; negative below it
	from   int64   // ns since the epoch: when the first was sent
	to     int64   // ns since the epoch: when the last was done
	scale  scale
	sharp  bool
	packed bool // proved by packing, not by the bound alone
}

func (w *window) excessTokens() float64 { return w.scale.tokens(w.excess) }

// overAdmission finds the fullest window of a history, nil when nothing was
// admitted. ByDone are the requests that took tokens, by end.
//
// Sweep x downwards over the starts. Leaf i of a tree, over the ends in
// ascending order, holds
//
//	(cost of the requests inserted so far that end at or before end[i]) − rate·end[i]
//
// which is what admitting them by end[i] exceeds rate·(end[i] − x) by, but for
// rate·x. Inserting a request makes its own leaf count and adds its cost to all
// leaves from it on. The maximum over the tree, plus rate·x, minus capacity, is
// the excess of the fullest window that opens at x.
func (t *trial) overAdmission(h *history, byDone []int32) *window {
	if len(byDone) == 0 {
		return nil
	}
	s := &h.scale
	tree := t.scratch.tree.reset(len(byDone), &t.scratch)
	rank := sized(&t.scratch.permSpare, len(h.start))
	for at, i := range byDone {
		rank[i] = int32(at)
		tree.offset[at] = s.rate * s.fastUp(h.end[i])
	}
	w := &window{excess: math.MinInt64, scale: *s, sharp: h.sharp}
	for i, start := range slices.Backward(h.start) {
		if !h.tookTokens(i) {
			continue
		}
		tree.insert(int(rank[i]), h.cost[i]*s.unit)
		if excess := tree.best() + s.rate*s.fastDown(start) - s.full; excess > w.excess {
			w.first, w.excess = i, excess
		}
	}
	if large := h.largest(byDone); h.cost[large]*s.unit-s.full > max(w.excess, 0) {
		w.first, w.last, w.excess = int(large), large, h.cost[large]*s.unit-s.full
		w.from, w.to = h.window(w.first, w.first)
		w.count, w.tokens, w.inside = 1, h.cost[large], []int32{h.row[large]}
		return w
	}
	w.close(h, byDone)
	return w
}

// largest is the request that took most: it did so at one instant, at which there
// was never more than the capacity, however long it was under way.
func (h *history) largest(byDone []int32) int32 {
	large := byDone[0]
	for _, i := range byDone {
		if h.cost[i] > h.cost[large] {
			large = i
		}
	}
	return large
}

// close finds, for the window that opens at first, the end that makes it fullest,
// and what is in it. It repeats one step of the sweep in plain sight.
func (w *window) close(h *history, byDone []int32) {
	s := &h.scale
	sum, tokens, best := int64(0), int64(0), int64(math.MinInt64)
	count := int64(0)
	end := 0
	for at, i := range byDone {
		if int(i) < w.first {
			continue
		}
		count++
		tokens += h.cost[i]
		sum += h.cost[i] * s.unit
		if filled := sum - s.rate*s.fastUp(h.end[i]); filled > best {
			best, w.last, w.tokens, w.count, end = filled, i, tokens, count, at
		}
	}
	if w.excess > 0 {
		w.gather(h, byDone[:end+1])
		return
	}
	w.from, w.to = h.window(w.first, int(w.last))
}

// gather keeps the requests of the window: of those given, the ones that start
// in it.
func (w *window) gather(h *history, byDone []int32) {
	w.from, w.to = h.window(w.first, int(w.last))
	w.count, w.tokens = 0, 0
	for _, i := range byDone {
		if int(i) >= w.first {
			w.inside = append(w.inside, h.row[i])
			w.count++
			w.tokens += h.cost[i]
		}
	}
}

// window is when request i was sent and request k was done, in ns since the
// epoch: by the client's clock, or by the limiter's in sharp mode.
func (h *history) window(i, k int) (from, to int64) {
	if h.sharp {
		return h.cols.decided[h.row[i]] * 1000, h.cols.decided[h.row[k]] * 1000
	}
	return h.cols.sent[h.row[i]], h.cols.done[h.row[k]]
}

// A sumTree holds costs at positions and answers, over the positions that were
// inserted, for the largest prefix sum minus offset. Each node keeps the sum of
// its costs and the best within it, counted from its own left edge, so an
// insertion changes one path. The lowest levels are blocks that are scanned:
// one line of the cache costs less than four levels.
type sumTree struct {
	cost   []int64 // 0 until inserted
	offset []int64
	sum    []int64 // nodes: 1 is the root, children of k are 2k and 2k+1
	peak   []int64
	leaves int
}

const (
	block = 16
	none  = -1 << 61 // below every true value, and no sum with a true value overflows
)

func (t *sumTree) reset(n int, s *scratch) *sumTree {
	t.leaves = 1
	for t.leaves*block < n {
		t.leaves *= 2
	}
	t.cost, t.offset = sized(&s.one, n), sized(&s.two, n)
	t.sum, t.peak = sized(&t.sum, 2*t.leaves), sized(&t.peak, 2*t.leaves)
	clear(t.cost)
	clear(t.sum)
	for i := range t.peak {
		t.peak[i] = none
	}
	return t
}

// insert puts a cost above 0 at a position.
func (t *sumTree) insert(at int, cost int64) {
	t.cost[at] = cost
	from := at / block * block
	sum, peak := int64(0), int64(none)
	for i := from; i < min(from+block, len(t.cost)); i++ {
		if c := t.cost[i]; c > 0 {
			sum += c
			peak = max(peak, sum-t.offset[i])
		}
	}
	node := t.leaves + at/block
	t.sum[node], t.peak[node] = sum, peak
	for node > 1 {
		node /= 2
		left, right := 2*node, 2*node+1
		t.sum[node] = t.sum[left] + t.sum[right]
		t.peak[node] = max(t.peak[left], t.sum[left]+t.peak[right])
	}
}

func (t *sumTree) best() int64 { return t.peak[1] }
