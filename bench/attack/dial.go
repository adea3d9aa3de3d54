package attack

import (
	"iter"
	"math"
	"sync"
	"time"

	"weir/bench/plan"
)

// A Dial changes the load of an attack while it runs: the rate of an open shape,
// the users of a closed one. One dial belongs to one attack; its methods are safe
// for concurrent use. The zero Dial leaves the plan's shape as it is.
type Dial struct {
	// MaxUsers is the most that Users may ask for. Set it before the attack.
	MaxUsers int
	// Ceiling is the most requests a second that a closed loop may send; 0 is no
	// bound. Set it before the attack.
	Ceiling float64

	once   sync.Once
	turned chan struct{} // has room for one: something changed

	mu    sync.Mutex
	asked *leg
	leg   *leg // what is being offered; nil is the plan's shape
	users int  // 0 is as many as the plan's shape has
}

// A leg is a stretch of a turned attack: the rate goes linearly from one to
// another within over, and stays there.
type leg struct {
	begin    time.Duration // since the attack's start
	from, to float64       // requests a second
	over     time.Duration
}

// Turn has an open attack go on at another rate, in requests a second: it moves
// there linearly within over, and stays until the plan's duration ends. Called
// before the attack it starts from 0.
func (d *Dial) Turn(rate float64, over time.Duration) {
	d.mu.Lock()
	d.asked = &leg{to: rate, over: over}
	d.mu.Unlock()
	d.signal()
}

// Users has a closed attack go on with n users, at most MaxUsers.
func (d *Dial) Users(n int) {
	d.mu.Lock()
	d.users = min(n, d.MaxUsers)
	d.mu.Unlock()
	d.signal()
}

// Rate is the rate that is planned at an instant since the attack's start, in
// requests a second; 0 for a closed shape.
func (d *Dial) Rate(p *plan.Plan, elapsed time.Duration) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rate(p, elapsed)
}

func (d *Dial) rate(p *plan.Plan, elapsed time.Duration) float64 {
	if d.leg == nil || elapsed < d.leg.begin || elapsed >= p.Duration {
		return p.Shape.Rate(elapsed, p.Duration)
	}
	return d.leg.rate(elapsed)
}

// wake is told when something changed; nil without a dial.
func (d *Dial) wake() <-chan struct{} {
	if d == nil {
		return nil
	}
	d.once.Do(func() { d.turned = make(chan struct{}, 1) })
	return d.turned
}

func (d *Dial) signal() {
	d.wake()
	select {
	case d.turned <- struct{}{}:
	default:
	}
}

// turn begins the leg that was asked for, if any.
func (d *Dial) turn(p *plan.Plan, elapsed time.Duration) *leg {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.asked
	if next == nil {
		return nil
	}
	d.asked = nil
	next.begin = max(elapsed, 0)
	if elapsed > 0 {
		next.from = d.rate(p, elapsed)
	}
	d.leg = next
	return next
}

// Now is how many users a closed attack has.
func (d *Dial) Now(p *plan.Plan) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users > 0 {
		return d.users
	}
	return p.MaxWorkers()
}

// rate is the rate at an instant since the attack's start.
func (l *leg) rate(elapsed time.Duration) float64 {
	if elapsed >= l.begin+l.over {
		return l.to
	}
	return l.from + (l.to-l.from)*(elapsed-l.begin).Seconds()/l.over.Seconds()
}

// arrivals yields the planned instants of the leg, since the attack's start.
// Request n = 1, 2, … leaves when the rate has added up to n, so that turning often
// sends nothing extra:
//
//	from·t + (to − from)·t²/2·over = n     while the rate moves
//	(n − moved)/to                         after that
func (l *leg) arrivals(end time.Duration) iter.Seq[time.Duration] {
	over := l.over.Seconds()
	moved := (l.from + l.to) / 2 * over
	return func(yield func(time.Duration) bool) {
		for n := 1.0; ; n++ {
			seconds := over + (n-moved)/l.to
			if n < moved { // the root in the form that loses no digits when from and to are close
				seconds = 2 * n / (l.from + math.Sqrt(max(l.from*l.from+2*(l.to-l.from)*n/over, 0)))
			}
			at := l.begin + time.Duration(seconds*1e9)
			if l.to <= 0 && n >= moved || at >= end || !yield(at) {
				return
			}
		}
	}
}
