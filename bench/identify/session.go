package identify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"weir/bench/attack"
	"weir/bench/record"
)

// A Prober sends requests. [attack.Caller] is one; tests have one whose time is
// only computed.
type Prober interface {
	Now() int64 // ns, by the clock of the records
	Warm(n int)
	Do(ctx context.Context, calls []attack.Call) []record.Record
}

// A session is one identification while it goes on.
type session struct {
	Config

	prober  Prober
	random  *rand.Rand
	began   int64
	spent   int
	records []record.Record // of the client whose limit is worked out
	others  []record.Record // of the clients that are compared with it
	belief  *belief
	tried   map[string]int // how often each experiment was made
	missing []string

	admitted int      // before the first throttle
	told     []string // what was compared and did not tell
	slow     bool     // a slower limit was looked for
	slack    float64
}

var errEnough = errors.New("requests or time are used up")

// now is the time since the first request, in seconds.
func (s *session) now() float64 { return float64(s.prober.Now()-s.began) / 1e9 }

func (s *session) timeLeft() float64 { return s.MaxTime.Seconds() - s.now() }
func (s *session) left() int         { return s.MaxRequests - s.spent }

// offer sends requests of the client at these instants, in seconds since the
// first request.
func (s *session) offer(ctx context.Context, at ...float64) ([]record.Record, error) {
	calls := make([]attack.Call, len(at))
	for i := range at {
		calls[i] = attack.Call{At: s.began + int64(at[i]*1e9)}
	}
	if len(calls) > s.left() {
		calls = calls[:max(s.left(), 0)]
	}
	if len(calls) == 0 || s.timeLeft() <= 0 {
		return nil, errEnough
	}
	records := s.prober.Do(ctx, calls)
	s.spent += len(records)
	s.records = append(s.records, records...)
	return records, ctx.Err()
}

// burst sends n requests at once.
func (s *session) burst(ctx context.Context, n int) ([]record.Record, error) {
	n = min(n, s.left())
	if n > 1 {
		s.prober.Warm(n)
	}
	return s.offer(ctx, slices.Repeat([]float64{s.now()}, max(n, 0))...)
}

// stream sends n requests over a time, in unequal steps, so that they do not fall
// into step with a window.
func (s *session) stream(ctx context.Context, begin, over float64, n int) error {
	n = min(n, s.left())
	at := make([]float64, 0, max(n, 0))
	for i := range n {
		at = append(at, begin+over*(float64(i)+0.7*s.random.Float64())/float64(n))
	}
	s.prober.Warm(min(n, 8))
	_, err := s.offer(ctx, at...)
	return err
}

// idle waits without a request.
func (s *session) idle(ctx context.Context, until float64) error {
	s.prober.Do(ctx, []attack.Call{{At: s.began + int64(until*1e9), Target: attack.NoTarget}})
	return ctx.Err()
}

func counts(records []record.Record) (n [len(record.Outcomes)]int) {
	for i := range records {
		n[records[i].Outcome]++
	}
	return n
}

// run works the limit out.
func (s *session) run(ctx context.Context) error {
	if err := s.look(ctx); err != nil {
		return err
	}
	err := s.drain(ctx)
	if err == nil {
		err = s.recover(ctx)
	}
	for err == nil {
		s.update()
		step := s.choose()
		if step == nil { // unless the slowest to fit is a rival yet
			s.belief.complete()
			step = s.choose()
		}
		if step == nil {
			return nil
		}
		err = step(ctx)
	}
	s.update()
	s.belief.complete()
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// look sends the first request: is there an API, and is anything left to take?
func (s *session) look(ctx context.Context) error {
	wait := 1.0
	for {
		records, err := s.offer(ctx, s.now())
		if err != nil {
			return err
		}
		switch r := &records[0]; r.Outcome {
		case record.Admitted:
			return nil
		case record.Failed:
			return fmt.Errorf("the first request failed: status %d %s (is the URL right? is a status other than 429 how it throttles? then say --throttle-status)", r.Status, r.Error)
		case record.Throttled:
		}
		s.say("throttled from the start: waiting for %.0f s", wait)
		if s.timeLeft() < wait {
			return errors.New("throttled from the start: someone else uses this client's limit (want it unused for a while, or a longer --max-time)")
		}
		if err := s.idle(ctx, s.now()+wait); err != nil {
			return err
		}
		s.records, wait = s.records[:0], wait*2
	}
}

// drain sends more and more at once until something is throttled.
func (s *session) drain(ctx context.Context) error {
	for n := 4; ; n *= 4 {
		if n > 256 { // the rest but what it takes to look further
			n = max(s.left()-s.MaxRequests/5, 0)
		}
		s.say("asking for %d at once", n)
		before := s.now()
		records, err := s.burst(ctx, n)
		if err != nil {
			return err
		}
		c := counts(records)
		switch took := s.now() - before; {
		case c[record.Failed] > len(records)/2:
			return fmt.Errorf("most requests fail: %d of %d (%s)", c[record.Failed], len(records), firstError(records))
		case c[record.Throttled] > 0:
			return nil
		case took*4 > s.timeLeft():
			s.missing = append(s.missing, fmt.Sprintf("%d at once took %.1f s and were all admitted: it delays rather than throttles, and its queue is longer than could be filled", n, took))
			return errEnough
		case n > 256 || s.left() <= s.MaxRequests/5:
			return errEnough
		}
	}
}

func firstError(records []record.Record) string {
	for i := range records {
		if r := &records[i]; r.Outcome == record.Failed {
			return strings.TrimSpace(fmt.Sprintf("status %d %s", r.Status, r.Error))
		}
	}
	return ""
}

// recover watches twice how long it takes until something is admitted again: where
// windows have edges, these are two with nothing between them.
func (s *session) recover(ctx context.Context) error {
	for range 2 {
		if err := s.recoverOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

// recoverOnce asks one by one, less and less often, until something is admitted
// again, and then at once for as many as were admitted before.
func (s *session) recoverOnce(ctx context.Context) error {
	if s.admitted == 0 {
		s.admitted = counts(s.records)[record.Admitted]
	}
	admitted, drained := s.admitted, s.now()
	for pause := 0.0; ; {
		records, err := s.offer(ctx, s.now()+pause)
		if err != nil {
			if errors.Is(err, errEnough) {
				s.missing = append(s.missing, fmt.Sprintf("nothing was admitted again for %.0f s: the rate is very low, or a window is longer than that (give a longer --max-time)", s.now()-drained))
			}
			return err
		}
		if records[0].Outcome == record.Admitted {
			break
		}
		waited := s.now() - drained
		pause = max(0.3*waited, 2e-4)
		if told := records[0].Quota.RetryAfter; told > 0 && waited+pause > told && waited < told {
			pause = told - waited + 1e-3 // not needlessly late
		}
		s.say("throttled after %d; waiting for more since %.1f s", admitted, waited)
	}
	_, err := s.burst(ctx, min(admitted+2, s.left()/4))
	return err
}

// update fits all kinds again: with the intervals as they are, or, where nothing
// explains the answers, with intervals wider by a tick.
func (s *session) update() {
	for _, slack := range []float64{s.slack, tickWidth} {
		s.slack = slack
		h := newHistory(s.records, s.began, slack)
		s.belief = believe(h)
		if s.belief.best().explains() || h.sharp {
			break
		}
	}
	s.say("%s", s.belief.String())
}

// Sharp is how exact the answer has to be: half the interval's width over its
// middle, and for capacities at least half a token.
const sharp = 0.01

func sharpRate(i Interval) bool     { return i.width() <= 2*sharp*i.mid() }
func sharpCapacity(i Interval) bool { return i.width() <= max(0.5, 2*sharp*i.mid()) }

// reserve is how many requests the comparison of clients needs.
const reserve = 60

// choose picks the experiment that tells most: between the kinds that are left,
// then about the rate, then the capacity, then what the limit is kept for, and at
// last whether there is a slower limit beside it. It is nil when all is known, or
// can no longer be.
func (s *session) choose() func(context.Context) error {
	b := s.belief
	best := b.best()
	if b.none {
		return nil
	}
	spare, keys := s.left()-reserve, s.tried["keys"] > 0
	switch {
	case spare < 10 || s.timeLeft() < 0.08*s.MaxTime.Seconds():
	case (len(b.rivals()) > 0 || !best.explains()) && s.tried["kind"] < 8:
		return s.try("kind", s.newPhase)
	case !sharpRate(best.rate) && s.tried["rate"] < 14:
		return s.try("rate", s.refine)
	case !sharpCapacity(best.capacity) && s.tried["capacity"] < 6:
		return s.try("capacity", s.refill)
	case !keys:
		return s.try("keys", s.compare)
	case best.kind == TokenBucket && s.tried["slower"] < 3 && !s.slow:
		return s.try("slower", s.saturate)
	}
	if !keys && s.left() >= 10 && s.timeLeft() > 0 {
		return s.try("keys", s.compare)
	}
	return nil
}

func (s *session) try(name string, step func(context.Context) error) func(context.Context) error {
	s.tried[name]++
	return step
}

// period is how long the limiter takes to forget, as far as is known: the time
// that brings its capacity.
func (s *session) period() float64 {
	f := s.belief.best()
	length := s.belief.h.length()
	p := f.capacity.mid() / max(f.rate.mid(), 1e-6)
	if f.kind == FixedWindow || f.kind == SlidingLog || f.kind == SlidingCounter {
		p = f.period
	}
	if math.IsNaN(p) || p <= 0 {
		p = length
	}
	return max(min(p, 2*length), 2e-3)
}

func (s *session) capacity() int {
	c := s.belief.best().capacity
	return int(min(c.mid(), c[0]+1000, float64(len(s.belief.h.admits))))
}

// newPhase leaves the limiter alone for a random part of its period, so that
// nothing is in step any more, then takes all there is at once and looks when it
// comes back: evenly (a bucket), all at a fixed time (a window) or all after a
// fixed time (a log).
func (s *session) newPhase(ctx context.Context) error {
	p := s.period()
	try := float64(s.tried["kind"])
	p = min(p*math.Pow(1.25, try-1), 0.3*s.timeLeft())
	if err := s.idle(ctx, s.now()+p*(1.05+0.7*s.random.Float64())); err != nil {
		return err
	}
	// Half of it first, the rest later within the period: a log gives it back in
	// the same two parts.
	c := s.capacity()
	if c >= 4 && s.tried["kind"]%2 == 0 {
		if _, err := s.burst(ctx, c/2); err != nil {
			return err
		}
		if err := s.idle(ctx, s.now()+p*(0.2+0.3*s.random.Float64())); err != nil {
			return err
		}
	}
	if _, err := s.burst(ctx, min(c+max(2, c/10), s.left()/2)); err != nil {
		return err
	}
	n := min(max(24, min(2*c, 90)), s.left()/3)
	return s.stream(ctx, s.now(), 1.6*p, n)
}

// refine makes the rate's interval narrower.
func (s *session) refine(ctx context.Context) error {
	switch s.belief.best().kind {
	case FixedWindow, SlidingLog:
		return s.nextEdge(ctx)
	case Concurrency:
		_, err := s.burst(ctx, s.capacity()+2)
		return err
	}
	return s.follow(ctx)
}

// follow asks a little faster than tokens come, twice as long each time: every
// throttle and every admission then bounds how many came since the first.
func (s *session) follow(ctx context.Context) error {
	f := s.belief.best()
	rate := min(f.rate.mid(), 3*f.rate[0])
	tokens := 40 * math.Pow(2, float64(s.tried["rate"]-1))
	over := min(tokens/rate, 0.5*s.timeLeft())
	faster := 1.4
	if rate*over < 60 { // few tokens: see each come
		faster = min(1.4+80/(rate*over), 6)
	}
	n := int(math.Ceil(rate * over * faster))
	if most := (s.left() - reserve) * 3 / 4; n > most {
		over *= float64(most) / float64(n)
		n = most
	}
	return s.stream(ctx, s.now(), over, max(n, 4))
}

// nextEdge takes all that is there, and asks closely around the instant when the
// next of it should come back: some windows ahead where windows are fixed, so that
// the width of the answer is divided by their number.
func (s *session) nextEdge(ctx context.Context) error {
	f := s.belief.best()
	window := f.period
	c := s.capacity()
	unsure := f.rate.width() / f.rate.mid() // of the window's length, relatively
	begin := s.now()
	if f.kind == FixedWindow {
		ahead := max(1, math.Floor(0.25/max(unsure, 1e-3)))
		last := f.phase + window*math.Floor((begin-f.phase)/window)
		for ahead > 1 && last+window*(ahead+1.5)-begin > 0.4*s.timeLeft() {
			ahead--
		}
		next := last + ahead*window
		if next-begin > 0.25*window { // wait into the last window before the edge, and take it all
			if err := s.idle(ctx, max(next-0.6*window, begin)); err != nil {
				return err
			}
		}
	}
	if _, err := s.burst(ctx, min(c+1, s.left()/2)); err != nil {
		return err
	}
	due := s.now() + window
	if h := newHistory(s.records, s.began, s.slack); f.kind == SlidingLog && len(h.admits) >= c {
		due = h.admits[len(h.admits)-c].mid() + window // when the first of those that fill it leaves
	}
	spread := max(unsure*window, 2*s.belief.h.patience())
	if f.kind == FixedWindow {
		due = f.phase + window*math.Ceil((s.now()-f.phase)/window)
		edges := s.belief.h.edges()
		if len(edges) > 0 {
			spread = max(spread, edges[len(edges)-1].to-edges[len(edges)-1].from)
		}
		spread += unsure * math.Abs(due-f.phase) / 2
	}
	spread = min(spread, 0.45*window)
	return s.stream(ctx, due-spread, 2*spread, min(16, max(s.left()-reserve, 4)))
}

// refill waits until the limiter has forgotten everything, and asks for a little
// more than it can hold, all at once.
func (s *session) refill(ctx context.Context) error {
	if err := s.idle(ctx, s.now()+min(1.3*s.period(), 0.3*s.timeLeft())); err != nil {
		return err
	}
	most := s.belief.best().capacity[1]
	_, err := s.burst(ctx, int(min(max(most+2, 1.05*most), float64(s.left()-reserve))))
	return err
}

// saturate takes every token as it comes, with hardly a throttle, until twelve
// times the capacity was admitted: a slower limit beside this one shows by then,
// if it is of the usual proportion.
func (s *session) saturate(ctx context.Context) error {
	f := s.belief.best()
	rate := f.rate.mid()
	wanted := 12.5*f.capacity.mid() + 10
	over := min(wanted/rate, 0.6*s.timeLeft())
	n := int(1.05 * rate * over)
	if most := s.left() - reserve/2; n > most {
		over *= float64(most) / float64(n)
		n = most
	}
	s.slow = true
	if n < 4 {
		return nil
	}
	return s.stream(ctx, s.now(), over, n)
}

// say tells how far the work is and what is believed.
func (s *session) say(format string, args ...any) {
	if s.Progress == nil {
		return
	}
	s.Progress(Progress{Requests: s.spent, Elapsed: time.Duration(s.now() * 1e9), Belief: fmt.Sprintf(format, args...)})
}
