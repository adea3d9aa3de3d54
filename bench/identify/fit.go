package identify

import (
	"math"
	"slices"
)

// The kinds of limiter, as they are named in answers.
const (
	TokenBucket    = "token bucket" // GCRA is the same from outside
	FixedWindow    = "fixed window"
	SlidingLog     = "sliding log"
	SlidingCounter = "sliding counter"
	LeakyQueue     = "leaky queue"
	Concurrency    = "concurrency"
	SeveralLimits  = "several limits"
	None           = "none"
)

// An Interval is where a number lies, both ends included.
type Interval [2]float64

func (i Interval) width() float64 { return i[1] - i[0] }
func (i Interval) mid() float64   { return (i[0] + i[1]) / 2 }

// add widens the interval to hold x.
func (i *Interval) add(x float64) { i[0], i[1] = min(i[0], x), max(i[1], x) }

// empty is an interval that nothing has been added to.
var empty = Interval{math.Inf(1), math.Inf(-1)}

// A fit is the best that one kind can make of a history.
type fit struct {
	kind           string
	rate, capacity Interval // all that explain the history; the best alone where none does
	period, phase  float64  // of windows, in seconds
	at             float64  // the parameter of the best
	second         *fit     // the slower of several limits
	unexplained    int      // answers that the best leaves unexplained
}

func (f *fit) explains() bool { return f.unexplained == 0 }

// maxRate and minRate bound the rates that are looked for, per second.
const (
	minRate = 1e-4
	maxRate = 1e6
)

// hills are where f is highest between low and high: over a grid, then over finer
// and finer ones around its highest points; the highest first.
func hills(low, high float64, points int, f func(x float64) float64) []point {
	ratio := math.Pow(high/low, 1/float64(points-1))
	grid := make([]point, points)
	for i := range grid {
		at := low * math.Pow(ratio, float64(i))
		grid[i] = point{at, f(at)}
	}
	var found []point
	for i, p := range grid {
		if (i == 0 || p.value > grid[i-1].value) && (i == points-1 || p.value >= grid[i+1].value) {
			found = append(found, p)
		}
	}
	highest := func(a, b point) int { return compare(b.value, a.value) }
	slices.SortFunc(found, highest)
	found = found[:min(10, len(found))]
	for i := range found {
		found[i].climb(ratio, f)
	}
	slices.SortFunc(found, highest)
	return found
}

type point struct{ x, value float64 }

// climb looks closer and closer around p for a higher point.
func (p *point) climb(step float64, f func(x float64) float64) {
	for step > 1+1e-8 {
		fine, center := math.Pow(step, 1.0/5), p.x
		for k := -5; k <= 5; k++ {
			at := center * math.Pow(fine, float64(k))
			if v := f(at); v > p.value {
				*p = point{at, v}
			}
		}
		step = fine
	}
}

// edge is how far x may go from good towards limit, by factors, while ok holds.
func edge(good, limit float64, ok func(x float64) bool) float64 {
	if good == limit {
		return good
	}
	near, far := good, limit
	for step := 1e-7; ; step *= 2 {
		x := good * math.Exp(math.Copysign(step, limit-good))
		if limit > good && x >= limit || limit <= good && x <= limit {
			if ok(limit) {
				return limit
			}
			break
		}
		if !ok(x) {
			far = x
			break
		}
		near = x
	}
	for range 25 {
		middle := math.Sqrt(near * far)
		if ok(middle) {
			near = middle
		} else {
			far = middle
		}
	}
	return near
}

// single fits a kind of one parameter between low and high. Fill makes the bounds
// that a history sets with it.
//
// The parameters that explain a history also explain its beginning, where many
// more do. So the beginning is searched coarsely, and then twice as much of the
// history each time within what is left.
func single(h *history, kind string, low, high float64, fill func(b *bounds, h *history, x float64)) (f fit, x Interval) {
	var b bounds
	f.kind = kind
	x = Interval{low, high}
	if len(h.answers) == 0 {
		return f, x
	}
	start, total := h.answers[0].from, h.length()
	for share, points := 1.0/4096, 200; ; share, points = 2*share, 80 {
		part := h
		if share < 1 {
			part = h.upTo(start + share*total)
		}
		if share < 1 && len(part.throttles) == 0 {
			continue
		}
		gap := func(x float64) float64 { fill(&b, part, x); return b.margin() }
		ok := func(x float64) bool { fill(&b, part, x); least, most := b.whole(); return least <= most }
		left := empty
		found := hills(x[0], x[1], points, gap)
		for _, hill := range found {
			if ok(hill.x) {
				left.add(edge(hill.x, low, ok))
				left.add(edge(hill.x, high, ok))
			}
		}
		f.at = found[0].x
		if left[0] > left[1] {
			if part == h {
				break // ruled out
			}
			continue // perhaps it was stepped over
		}
		if share >= 1 {
			x = left
			break
		}
		// A hill that was stepped over is near those that were found.
		x = Interval{max(x[0], left[0]/nearby), min(x[1], left[1]*nearby)}
	}
	if f.capacity = b.capacities(h, x, f.at, fill); f.capacity[0] > f.capacity[1] {
		x = Interval{f.at, f.at}
		fill(&b, h, f.at)
		f.unexplained, f.capacity = b.contradictions()
	}
	return f, x
}

// capacities are all whole capacities with parameters in x; at is the best one.
func (b *bounds) capacities(h *history, x Interval, at float64, fill func(b *bounds, h *history, x float64)) Interval {
	all := empty
	for k := range 26 {
		p := x[0] * math.Pow(x[1]/x[0], float64(k)/24)
		if k == 25 {
			p = at
		}
		fill(b, h, p)
		if least, most := b.whole(); least <= most {
			all.add(least)
			all.add(min(most, maxCapacity))
		}
	}
	return all
}

// nearby is by which factor beyond what explains the beginning of a history is
// searched for what explains more of it.
const nearby = 1.2

const maxCapacity = 1e9

func fitBucket(h *history) fit {
	f, rate := single(h, TokenBucket, minRate, maxRate, (*bounds).bucket)
	f.rate = rate
	return f
}

func fitLog(h *history) fit {
	f, window := single(h, SlidingLog, 1e-5, max(2*h.length(), 1e-3), (*bounds).log)
	f.period = window.mid()
	f.rate = perWindow(f.capacity, window)
	return f
}

// perWindow is the rate of so many in a window.
func perWindow(capacity, window Interval) Interval {
	return Interval{capacity[0] / window[1], capacity[1] / window[0]}
}

// edges are where windows must begin: between a throttle and an admission behind
// it, when nothing is known to have been decided in between. A limiter that counts
// windows throttles until the next one begins.
func (h *history) edges() (found []span) {
	last := span{math.Inf(-1), math.Inf(-1)} // the last throttle
	for i := range h.answers {
		a := &h.answers[i]
		switch {
		case !a.admitted:
			last = a.span
		case a.from > last.to && !math.IsInf(last.from, -1):
			found = append(found, span{last.from, a.to})
			last = span{math.Inf(-1), math.Inf(-1)}
		}
	}
	return found
}

// fitFixed finds the window's length from the edges: with edges i and j windows
// apart, it lies between the shortest and the longest way from one to the other,
// divided by their number. How many windows lie between two edges is known once
// the length is known well enough, so the edges are taken in one after the other.
// Each way to begin, with 1, 2, … windows between the closest edges, is tried.
func fitFixed(h *history) fit {
	// An admission long after a throttle may have several edges between them.
	shut := h.shut()
	edges := slices.DeleteFunc(h.edges(), func(e span) bool { return e.to-e.from > 0.7*shut })
	best := fit{kind: FixedWindow, unexplained: math.MaxInt}
	if len(edges) < 2 {
		return loneEdge(h, edges)
	}
	i := closest(edges)
	apart := edges[i+1].to - edges[i].from
	for _, way := range sieve(edges, max(shut, apart/60)) {
		switch f := fixedWithin(h, edges, way.numbers, way.window); {
		case f.unexplained < best.unexplained:
			best = f
		case f.explains() && best.explains(): // which of them is not known
			best.rate.add(f.rate[0])
			best.rate.add(f.rate[1])
			best.capacity.add(f.capacity[0])
			best.capacity.add(f.capacity[1])
		}
	}
	if best.unexplained == math.MaxInt {
		window := edges[i+1].mid() - edges[i].mid()
		best = fixedAt(h, Interval{window, window}, edges[i].mid())
		best.unexplained = max(best.unexplained, 1) // the edges are in no even distance
	}
	return best
}

// shut is the longest time for which nothing was admitted after a throttle and
// something was throttled at its end: no window is shorter.
func (h *history) shut() (longest float64) {
	first := math.NaN()
	for i := range h.answers {
		a := &h.answers[i]
		switch {
		case a.admitted:
			first = math.NaN()
		case math.IsNaN(first):
			first = a.to
		default:
			longest = max(longest, a.from-first)
		}
	}
	return longest
}

func (s span) mid() float64 { return (s.from + s.to) / 2 }

// loneEdge is the fit with at most one edge: the length is only bounded.
func loneEdge(h *history, edges []span) fit {
	if len(edges) == 0 {
		return fit{kind: FixedWindow, unexplained: 0, capacity: Interval{1, maxCapacity}, rate: Interval{minRate, maxRate}, period: h.length()}
	}
	phase := edges[0].mid()
	longest := 2 * h.length()
	f := fixedAt(h, Interval{longest, longest}, phase)
	f.rate[0], f.rate[1] = minRate, max(f.rate[1], maxRate)
	return f
}

// fixedWithin looks for a length and a phase that all edges allow, and the fewest
// answers speak against.
func fixedWithin(h *history, edges []span, numbers []int, window Interval) fit {
	best := fit{unexplained: math.MaxInt}
	for _, part := range [...]float64{0.5, 0.3, 0.7, 0.1, 0.9} {
		width := window[0] + part*window.width()
		low, high := math.Inf(-1), math.Inf(1)
		for i := range edges {
			low = max(low, edges[i].from-float64(numbers[i])*width)
			high = min(high, edges[i].to-float64(numbers[i])*width)
		}
		for _, part := range [...]float64{0.5, 0.25, 0.75, 0.02, 0.98, 0.12, 0.37, 0.63, 0.88} {
			f := fixedAt(h, Interval{width, width}, low+part*(high-low))
			if f.unexplained < best.unexplained {
				best = f
			}
			if best.explains() {
				best.rate = perWindow(best.capacity, window)
				return best
			}
		}
	}
	return best
}

func fixedAt(h *history, window Interval, phase float64) fit {
	var b bounds
	f := fit{kind: FixedWindow, period: window.mid(), phase: phase}
	b.fixed(h, f.period, phase)
	least, most := b.whole()
	f.capacity = Interval{least, min(most, maxCapacity)}
	if least > most {
		f.unexplained, f.capacity = b.contradictions()
	}
	f.rate = perWindow(f.capacity, window)
	return f
}

func closest(edges []span) (at int) {
	for i := range edges[:len(edges)-1] {
		if edges[i+1].mid()-edges[i].mid() < edges[at+1].mid()-edges[at].mid() {
			at = i
		}
	}
	return at
}

// A way is to number the windows that begin at edges, and how long they then are.
type way struct {
	numbers []int
	window  Interval
}

// mostWays bounds how many ways are followed at once.
const mostWays = 40

// sieve finds the ways in which windows of one length, which is no shorter than
// shortest, have edges in all the spans. From the closest two on, each further edge,
// the nearest first, is as many windows away as the length known by then allows.
func sieve(edges []span, shortest float64) []way {
	first := closest(edges)
	order := make([]int, 0, len(edges))
	for i := range edges {
		if i != first && i != first+1 {
			order = append(order, i)
		}
	}
	base := edges[first].mid()
	slices.SortFunc(order, func(a, b int) int {
		return compare(math.Abs(edges[a].mid()-base), math.Abs(edges[b].mid()-base))
	})
	var ways []way
	apart := edges[first+1].to - edges[first].from
	for n := 1; n == 1 || float64(n) <= apart/shortest; n++ {
		w := way{make([]int, len(edges)), Interval{shortest, math.Inf(1)}}
		if w.take(edges, []int{first}, first+1, n) {
			ways = append(ways, w)
		}
	}
	known := []int{first, first + 1}
	for _, i := range order {
		var next []way
		for _, w := range ways {
			near, far := edges[i].from-edges[first].to, edges[i].to-edges[first].from
			low, high := min(near/w.window[0], near/w.window[1]), max(far/w.window[0], far/w.window[1])
			for n := int(math.Ceil(low)); float64(n) <= min(high, low+1000) && len(next) < mostWays; n++ {
				if longer := (way{slices.Clone(w.numbers), w.window}); longer.take(edges, known, i, n) {
					next = append(next, longer)
				}
			}
		}
		ways, known = next, append(known, i)
	}
	return ways
}

// take numbers one more edge, and reports whether that is possible.
func (w *way) take(edges []span, known []int, i, number int) bool {
	w.numbers[i] = number
	for _, k := range known {
		early, late := k, i
		if w.numbers[late] < w.numbers[early] {
			early, late = late, early
		}
		if n := float64(w.numbers[late] - w.numbers[early]); n > 0 {
			w.window[0] = max(w.window[0], (edges[late].from-edges[early].to)/n)
			w.window[1] = min(w.window[1], (edges[late].to-edges[early].from)/n)
		} else if edges[late].from > edges[early].to || edges[early].from > edges[late].to {
			return false
		}
	}
	return w.window[0] <= w.window[1] && w.window[1] > 0
}

// fitCounter looks for window and phase on grids that get finer as more of the
// history is taken in: a short one leaves wide choices, a long one a narrow one.
func fitCounter(h *history) fit {
	f := counterLike(h, false)
	if !f.explains() {
		if loose := counterLike(h, true); loose.unexplained < f.unexplained {
			return loose
		}
	}
	return f
}

func counterLike(h *history, loose bool) fit {
	start, total := h.answers[0].from, h.length()
	var b bounds
	best := place{value: math.Inf(-1)}
	shut := max(h.shut(), 1e-4)
	first := min(max(6*shut, total/32), total)
	part := h.upTo(start + first)
	for guess := shut; guess < 8*shut; guess *= 1.4 { // closed for longer than the phase of a window, and not for two
		for phase := range 16 {
			p := place{loose: loose, window: guess, phase: start + guess*float64(phase)/16}
			p.measure(part, &b)
			p.climb(part, 1.2, 1.0/16, 4)
			if p.value > best.value {
				best = p
			}
		}
	}
	for horizon := first; ; horizon = min(2*horizon, total) {
		part := h
		if horizon < total {
			part = h.upTo(start + horizon)
		}
		best.measure(part, &b)
		best.climb(part, 1+0.3*best.window/horizon, 0.08, 6)
		if horizon >= total {
			break
		}
	}
	return best.counter(h)
}

// A place is a choice of window and phase, and how well it does.
type place struct {
	window, phase, value float64
	loose                bool
}

func (p *place) measure(h *history, b *bounds) {
	b.counter(h, p.window, p.phase, p.loose)
	p.value = b.margin()
}

// climb looks for a better place: windows within a factor, phases within a share
// of a window, in so many steps to each side, three times closer each time.
func (p *place) climb(h *history, reach, share float64, steps int) {
	var b bounds
	for range 5 {
		center := *p
		for i := -steps; i <= steps; i++ {
			window := center.window * math.Pow(reach, float64(i)/float64(steps))
			for k := -steps; k <= steps; k++ {
				at := place{loose: p.loose, window: window, phase: center.phase + share*window*float64(k)/float64(steps)}
				if at.measure(h, &b); at.value > p.value {
					*p = at
				}
			}
		}
		reach, share = math.Pow(reach, 1.0/3), share/3
	}
}

// counter is the fit at a place.
func (p *place) counter(h *history) fit {
	var b bounds
	b.counter(h, p.window, p.phase, p.loose)
	f := fit{kind: SlidingCounter, period: p.window, phase: p.phase}
	least, most := b.whole()
	window := Interval{p.window, p.window}
	if least > most {
		f.unexplained, f.capacity = b.contradictions()
	} else {
		f.capacity = Interval{least, min(most, maxCapacity)}
		window = p.windows(h)
	}
	f.rate = perWindow(f.capacity, window)
	return f
}

// windows are the lengths around a place for which some phase explains the history.
func (p *place) windows(h *history) Interval {
	var b bounds
	middle := h.answers[len(h.answers)/2].from // where a longer window moves its edges least
	begin := p.phase + p.window*math.Floor((middle-p.phase)/p.window)
	ok := func(window float64) bool {
		for i := range 64 { // near the best phase first, then all around
			off := math.Copysign(float64(i/2), float64(i%2)-0.5) / 64
			if i < 24 {
				off /= 12
			}
			b.counter(h, window, begin+off*window, p.loose)
			if least, most := b.whole(); least <= most {
				return true
			}
		}
		return false
	}
	return Interval{edge(p.window, p.window/4, ok), edge(p.window, p.window*4, ok)}
}
