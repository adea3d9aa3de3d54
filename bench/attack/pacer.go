package attack

import (
	"context"
	"iter"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/plan"
)

// An arrival is one planned request.
type arrival struct {
	index   uint64 // among all planned requests, dropped ones too: key and target follow from it
	planned int64  // ns since the epoch
}

// A pacer lets vegeta's next hit go at the planned instant.
//
// Vegeta calls Pace for each hit, from one goroutine, and then gives a tick to a
// worker. The pacer waits inside Pace rather than have vegeta sleep, for three
// reasons: whether an arrival is too late is known only after the wait; a wait
// can end when the attack is stopped; and a wait is exact to about 0.1 ms, where
// time.Sleep in a process with nothing else to do wakes up to 1 ms late.
type pacer struct {
	ctx     context.Context //nolint:containedctx // vegeta's Pacer has no parameter for it
	plan    *plan.Plan
	clock   clock
	start   int64
	counts  *counts
	next    func() (time.Duration, bool)
	stop    func()
	index   uint64
	maxLate int64
	bounded bool // maxLate holds
	workers int64
	full    bool // all workers were busy once

	// handed carries the arrivals to the hitter beside vegeta's ticks. It never
	// blocks: what waits in it are hits that a worker has and the hitter has not
	// seen yet, so at most one for each worker, and one in the pacer's hand.
	handed chan arrival
}

var _ vegeta.Pacer = (*pacer)(nil)

func newPacer(ctx context.Context, a *attack) *pacer {
	next, stop := iter.Pull(a.plan.Shape.Arrivals(a.plan.Seed, a.plan.Duration))
	p := &pacer{
		ctx: ctx, plan: a.plan, clock: a.clock, start: a.start, counts: &a.counts, next: next, stop: stop,
		workers: int64(a.plan.MaxWorkers()),
	}
	maxLate, bounded := a.plan.MaxLate()
	p.maxLate, p.bounded = int64(maxLate), bounded
	if !a.plan.Shape.Closed() {
		p.handed = make(chan arrival, p.workers+1)
	}
	return p
}

// Pace returns when the next hit is to go, and true when there is none.
func (p *pacer) Pace(_ time.Duration, hits uint64) (wait time.Duration, stop bool) {
	if p.plan.Shape.Closed() {
		ended := p.clock.now()-p.start >= int64(p.plan.Duration) || p.ctx.Err() != nil
		return 0, ended
	}
	// Vegeta hands a tick over as soon as a worker is free or can be added. That
	// this hit was the last worker's is seen when it comes back for another.
	if int64(hits)-p.counts.done.Load() >= p.workers {
		p.full = true
	}
	for {
		offset, more := p.next()
		if !more {
			return 0, true
		}
		planned := p.start + int64(offset)
		if !p.wait(planned) {
			return 0, true
		}
		p.counts.planned.Add(1)
		index := p.index
		p.index++
		if p.bounded && p.clock.now()-planned > p.maxLate {
			p.counts.dropped.Add(1)
			continue
		}
		p.handed <- arrival{index: index, planned: planned}
		return 0, false
	}
}

// Rate is the planned rate, in hits a second.
func (p *pacer) Rate(elapsed time.Duration) float64 {
	return p.plan.Shape.Rate(elapsed, p.plan.Duration)
}

// fine is how long before an instant the exact wait begins. It cannot be
// interrupted, so it is short.
const fine = 2 * time.Millisecond

// wait waits for an instant, and reports false when the attack was stopped.
func (p *pacer) wait(until int64) bool {
	if coarse := time.Duration(until-p.clock.now()) - fine; coarse > 0 {
		timer := time.NewTimer(coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return false
		}
	}
	for left := until - p.clock.now(); left > 0; left = until - p.clock.now() {
		sleepExactly(time.Duration(left))
	}
	return p.ctx.Err() == nil
}
