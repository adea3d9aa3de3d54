package identify

import (
	"math"
	"slices"
)

// A belief is what every kind makes of the history so far.
type belief struct {
	h    *history
	fits []fit // the best first
	none bool  // nothing was ever throttled
	// What delays told: by how many seconds an answer came later for each second
	// that a queue would have had it wait, and the error of that.
	delay, delayError float64
	held              float64 // seconds for which an admitted request was served, at least
}

// best is the kind that is believed.
func (b *belief) best() *fit { return &b.fits[0] }

// rivals are the other kinds that explain the history as well.
func (b *belief) rivals() (names []string) {
	best := b.best()
	if best.kind == LeakyQueue || best.kind == Concurrency {
		return nil // their marks would be coincidences in any other
	}
	for i := range b.fits[1:] {
		if f := &b.fits[i+1]; f.explains() && best.explains() && !same(best, f) {
			names = append(names, f.kind)
		}
	}
	return names
}

// same says that two fits cannot be told apart by any request: a log or a bucket
// of one token both admit a fixed time after the last admission.
func same(a, b *fit) bool {
	one := func(f *fit) bool {
		return (f.kind == TokenBucket || f.kind == SlidingLog) && f.capacity == Interval{1, 1}
	}
	return one(a) && one(b)
}

// believe fits every kind to a history.
func believe(h *history) *belief {
	b := &belief{h: h}
	if len(h.throttles) == 0 {
		b.none = true
		b.fits = []fit{{kind: None, rate: Interval{0, 0}, capacity: Interval{float64(len(h.admits)), math.Inf(1)}}}
		return b
	}
	bucket := fitBucket(h)
	b.fits = []fit{bucket, fitFixed(h), fitLog(h)}
	b.delays()
	if queue, ok := b.fitQueue(); ok {
		b.fits = append(b.fits, queue)
	}
	if slots, ok := b.fitSlots(); ok {
		b.fits = append(b.fits, slots)
	}
	if !slices.ContainsFunc(b.fits, func(f fit) bool { return f.explains() && f.kind != FixedWindow }) {
		if several, ok := fitSeveral(h); ok {
			b.fits = append(b.fits, several)
		}
		b.fits = append(b.fits, fitCounter(h))
	}
	slices.SortStableFunc(b.fits, b.prefer)
	return b
}

// complete fits the kind that takes longest to fit also where a simpler one
// explains everything.
func (b *belief) complete() {
	if b.none || slices.ContainsFunc(b.fits, func(f fit) bool { return f.kind == SlidingCounter }) {
		return
	}
	b.fits = append(b.fits, fitCounter(b.h))
	slices.SortStableFunc(b.fits, b.prefer)
}

// preference breaks ties between kinds that explain a history alike: those whose
// mark is a coincidence in all others come first, then the simplest.
var preference = []string{LeakyQueue, Concurrency, TokenBucket, FixedWindow, SlidingLog, SlidingCounter, SeveralLimits}

func (b *belief) prefer(x, y fit) int {
	if x.unexplained != y.unexplained {
		return x.unexplained - y.unexplained
	}
	return slices.Index(preference, x.kind) - slices.Index(preference, y.kind)
}

// patience is how long an answer takes that did not have to wait: nearly the
// slowest of the throttled ones. (The slowest may have met a pause of the machine.)
func (h *history) patience() float64 {
	var took []float64
	for i := range h.answers {
		if a := &h.answers[i]; !a.admitted {
			took = append(took, a.done-a.sent)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return min(took[len(took)-1], 1.5*took[len(took)*9/10])
}

// prompt is the history of a limiter that decides at once and answers later: the
// intervals of admissions end where a throttled one's would have.
func (h *history) prompt() *history {
	p := &history{sharp: h.sharp, answers: slices.Clone(h.answers)}
	longest := h.patience()
	for i := range p.answers {
		if a := &p.answers[i]; !h.sharp {
			a.to = min(a.to, a.from+longest)
		}
	}
	p.split()
	return p
}

// fitQueue fits a bucket to a limiter that decides at once, and holds its
// admissions to the turns that a queue would give them.
func (b *belief) fitQueue() (fit, bool) {
	if b.delay < 0.5 || b.delay > 2 || b.delay < 4*b.delayError {
		return fit{}, false
	}
	f := fitBucket(b.h.prompt())
	f.kind = LeakyQueue
	f.capacity[0], f.capacity[1] = max(f.capacity[0]-1, 0), max(f.capacity[1]-1, 0)
	return f, true
}

// delays asks how much later the answers come, the longer a queue would have made
// them wait: not at all is 0, just as long is 1. It is the slope of a regression
// over the admissions. Which of the requests sent together came first is not known;
// a queue answers in its order, so their answers are taken in order. That alone
// would make a queue of any jitter, so the delays must be well above the patience,
// and the answers as fast as admissions.
func (b *belief) delays() {
	prompt := b.h.prompt()
	bucket := fitBucket(prompt)
	rate, longest := bucket.at, b.h.patience()
	if !b.h.sharp {
		if rate = b.h.answering(); rate < bucket.rate[0]/1.3 || rate > bucket.rate[1]*1.3 {
			return
		}
	}
	turn, most := math.Inf(-1), 0.0
	var waits, took []float64
	for _, together := range prompt.together() {
		for k, at := range together.decided {
			wait := max(0, turn-at)
			waits, took = append(waits, wait), append(took, together.done[k]-at)
			turn, most = max(turn, at)+1/rate, max(most, together.done[k]-at)
		}
	}
	if b.h.sharp || most > 2*longest+2e-3 {
		b.delay, b.delayError = slope(waits, took)
	}
}

// A bunch is the admissions among requests that were sent together.
type bunch struct{ decided, done []float64 }

// together are the admissions by what was sent within a millisecond; each alone
// where it is known when each was decided.
func (h *history) together() (all []bunch) {
	for i := 0; i < len(h.answers); {
		first := h.answers[i].sent
		var b bunch
		for begin := i; i < len(h.answers) && (i == begin || !h.sharp && h.answers[i].sent < first+1e-3); i++ {
			if a := &h.answers[i]; a.admitted {
				b.decided, b.done = append(b.decided, a.mid()), append(b.done, a.done)
			}
		}
		slices.Sort(b.decided)
		slices.Sort(b.done)
		all = append(all, b)
	}
	return all
}

// answering is how fast the answers came to the most requests sent together: the
// rate of a queue.
func (h *history) answering() float64 {
	most, fastest := 2, maxRate
	for _, b := range h.together() {
		if n := len(b.done); n > most && b.done[n-1] > b.done[0] {
			most, fastest = n, float64(n-1)/(b.done[n-1]-b.done[0])
		}
	}
	return fastest
}

// slope is the slope of y over x by least squares, and its standard error.
func slope(x, y []float64) (slope, standardError float64) {
	n := float64(len(x))
	if n < 3 {
		return 0, math.Inf(1)
	}
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	var xx, xy, yy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	if xx == 0 {
		return 0, math.Inf(1)
	}
	slope = xy / xx
	return slope, math.Sqrt(max(0, yy-slope*xy) / (n - 2) / xx)
}

// fitSlots fits a limit on how many are served at once. It is only believed where
// being served takes much longer than being throttled: then each throttle beside
// full slots, and none beside free ones, is its mark.
func (b *belief) fitSlots() (fit, bool) {
	overhead := b.h.patience()
	var took []float64
	for i := range b.h.answers {
		if a := &b.h.answers[i]; a.admitted {
			took = append(took, a.done-a.sent)
		}
	}
	slices.Sort(took)
	if len(took) == 0 || took[0] < 3*overhead && took[0] < overhead+0.02 || b.delay >= 0.5 && b.delay <= 2 && b.delay > 4*b.delayError {
		return fit{}, false
	}
	b.held = took[0]
	var bounds bounds
	bounds.slots(b.h, overhead)
	f := fit{kind: Concurrency}
	least, most := bounds.whole()
	f.capacity = Interval{least, most}
	if least > most {
		f.unexplained, f.capacity = bounds.contradictions()
	}
	// Beside the serving, the fastest answer took what the fastest throttle took.
	quickest := overhead
	for i := range b.h.answers {
		if a := &b.h.answers[i]; !a.admitted {
			quickest = min(quickest, a.done-a.sent)
		}
	}
	f.rate = perWindow(f.capacity, Interval{took[0] - min(2*quickest, took[0]/2), took[0]})
	f.period = took[0] - quickest
	return f, true
}

// fitSeveral fits two buckets: one to as much of the history as one bucket
// explains, from its beginning, and a slower one to the throttles that the first
// leaves unexplained.
func fitSeveral(h *history) (fit, bool) {
	start := h.answers[0].from
	few, many := 0.0, h.length() // a bucket explains the first few seconds, not the first many
	for range 7 {
		middle := (few + many) / 2
		if f := fitBucket(h.upTo(start + middle)); f.explains() {
			few = middle
		} else {
			many = middle
		}
	}
	part := h.upTo(start + few)
	near := fitBucket(part)
	if len(part.throttles) == 0 || near.rate.width() > near.rate.mid() || !near.explains() {
		return fit{}, false
	}
	var b bounds
	b.bucket(h, near.at)
	rest, j := &history{sharp: h.sharp}, 0
	for i := range h.answers {
		a := &h.answers[i]
		if !a.admitted {
			j++
		}
		if a.admitted || near.capacity[1] >= b.caps[j-1]+0.3 { // far from what the first would have throttled
			rest.answers = append(rest.answers, *a)
		}
	}
	rest.split()
	if len(rest.throttles) == 0 {
		return fit{}, false
	}
	far := fitBucket(rest)
	if far.rate.mid() >= near.rate.mid() || far.capacity.mid() <= near.capacity.mid() {
		return fit{}, false
	}
	near.kind, near.second = SeveralLimits, &far
	// Whether the near one lets all admissions through, and the far one too.
	near.unexplained = far.unexplained
	for _, need := range b.needs {
		if near.capacity[1] < need-rounding-0.5 {
			near.unexplained++
		}
	}
	return near, true
}
