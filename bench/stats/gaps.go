package stats

import (
	"container/heap"
	"time"
)

// pending is how many sent instants wait to be put in order. Records are
// written as they are done, so their sent instants are out of order by no more
// than the requests in flight.
const pending = 4096

// Gaps are the times between neighbouring requests, in the order in which they
// were sent. They tell what kind of load arrived: a coefficient of variation of
// 0 is a metronome, 1 is Poisson traffic, more is bursts.
type Gaps struct {
	Between    Histogram
	OutOfOrder int64 // requests too far out of order to place, not in Between

	last  int64
	queue instants
}

// Variation is the coefficient of variation of the gaps: standard deviation
// over mean; 0 when there are none.
func (g *Gaps) Variation() float64 {
	g.flush(0)
	mean := float64(g.Between.Mean())
	if mean == 0 {
		return 0
	}
	return float64(g.Between.StdDev()) / mean
}

// Quantile is a quantile of the gaps, as [Histogram.Quantile].
func (g *Gaps) Quantile(q float64) time.Duration {
	g.flush(0)
	return g.Between.Quantile(q)
}

func (g *Gaps) add(sent int64) {
	heap.Push(&g.queue, sent)
	g.flush(pending)
}

// flush places waiting instants until no more than keep are left.
func (g *Gaps) flush(keep int) {
	for len(g.queue) > keep {
		sent := heap.Pop(&g.queue).(int64)
		switch {
		case g.last == 0:
			g.last = sent
		case sent < g.last:
			g.OutOfOrder++
		default:
			g.Between.Record(sent - g.last)
			g.last = sent
		}
	}
}

func (g *Gaps) merge(o *Gaps) {
	g.flush(0)
	o.flush(0)
	g.Between.Merge(&o.Between)
	g.OutOfOrder += o.OutOfOrder
	g.last = max(g.last, o.last)
}

// instants is a heap of instants, the earliest on top.
type instants []int64

func (q instants) Len() int           { return len(q) }
func (q instants) Less(i, j int) bool { return q[i] < q[j] }
func (q instants) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *instants) Push(x any)        { *q = append(*q, x.(int64)) }
func (q *instants) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

var _ heap.Interface = (*instants)(nil)
