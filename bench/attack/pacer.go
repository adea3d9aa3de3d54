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
	dial    *Dial
	freed   chan struct{} // a user of a closed shape is free; nil without a dial
	last    int64         // when a closed shape with a dial was last let go

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
		workers: int64(a.plan.MaxWorkers()), dial: a.dial,
	}
	maxLate, bounded := a.plan.MaxLate()
	p.maxLate, p.bounded = int64(maxLate), bounded
	if !a.plan.Shape.Closed() {
		p.handed = make(chan arrival, p.workers+1)
	} else if a.dial != nil {
		p.freed = make(chan struct{}, 1)
	}
	return p
}

// Pace returns when the next hit is to go, and true when there is none.
func (p *pacer) Pace(_ time.Duration, hits uint64) (wait time.Duration, stop bool) {
	if p.plan.Shape.Closed() {
		if p.dial != nil && !p.waitForUser(int64(hits)) {
			return 0, true
		}
		return 0, p.over()
	}
	// Vegeta hands a tick over as soon as a worker is free or can be added. That
	// the hit before this one took the last worker is seen now.
	if int64(hits)-p.counts.returned.Load() >= p.workers {
		p.full = true
	}
	for pulled, offset, more := false, time.Duration(0), true; ; {
		if turned := p.turn(); turned || !pulled {
			offset, more = p.next()
			pulled = true
		}
		if !more {
			return 0, true
		}
		planned := p.start + int64(offset)
		if !p.wait(planned) {
			if p.ctx.Err() == nil { // the dial woke it
				continue
			}
			return 0, true
		}
		pulled = false
		p.counts.planned.Add(1)
		index := p.index
		p.index++
		if p.tooLate(planned) {
			p.counts.dropped.Add(1)
			continue
		}
		p.handed <- arrival{index: index, planned: planned}
		return 0, false
	}
}

// turn goes over to the load that the dial asks for, and reports whether it
// asked: what was planned until then is not planned any more.
func (p *pacer) turn() bool {
	if p.dial == nil {
		return false
	}
	if leg := p.dial.turn(p.plan, time.Duration(p.clock.now()-p.start)); leg != nil {
		p.stop()
		p.next, p.stop = iter.Pull(leg.arrivals(p.plan.Duration))
		return true
	}
	return false
}

// waitForUser waits until fewer requests are in flight than there are users, and
// the dial's ceiling allows another. It reports false when the attack is over.
func (p *pacer) waitForUser(hits int64) bool {
	end := p.start + int64(p.plan.Duration)
	timer := time.NewTimer(time.Duration(end - p.clock.now()))
	defer timer.Stop()
	for hits-p.counts.returned.Load() >= int64(p.dial.Now(p.plan)) {
		select {
		case <-p.freed:
		case <-p.dial.wake():
		case <-timer.C:
			return false
		case <-p.ctx.Done():
			return false
		}
	}
	if p.dial.Ceiling > 0 {
		next := p.last + int64(1e9/p.dial.Ceiling)
		if next > p.clock.now() && !p.wait(next) && p.ctx.Err() != nil {
			return false
		}
		p.last = p.clock.now()
	}
	return true
}

// back says that vegeta has a hit back, sent or not.
func (p *pacer) back() {
	p.counts.returned.Add(1)
	select {
	case p.freed <- struct{}{}: // nil, and so never, without a dial
	default:
	}
}

// over reports whether a closed loop has come to its end.
func (p *pacer) over() bool {
	return p.clock.now()-p.start >= int64(p.plan.Duration) || p.ctx.Err() != nil
}

// tooLate reports whether an arrival planned for an instant must not be sent now.
func (p *pacer) tooLate(planned int64) bool {
	return p.bounded && p.clock.now()-planned > p.maxLate
}

// Rate is the planned rate, in hits a second.
func (p *pacer) Rate(elapsed time.Duration) float64 {
	return p.plan.Shape.Rate(elapsed, p.plan.Duration)
}

// fine is how long before an instant the exact wait begins. It cannot be
// interrupted, so it is short.
const fine = 2 * time.Millisecond

// wait waits for an instant, and reports false when the attack was stopped or
// turned meanwhile.
func (p *pacer) wait(until int64) bool {
	if coarse := time.Duration(until-p.clock.now()) - fine; coarse > 0 {
		timer := time.NewTimer(coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.dial.wake():
			return false
		case <-p.ctx.Done():
			return false
		}
	}
	for left := until - p.clock.now(); left > 0; left = until - p.clock.now() {
		sleepExactly(time.Duration(left))
	}
	return p.ctx.Err() == nil
}
