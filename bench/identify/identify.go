// Package identify works out from outside how an unknown API limits its clients:
// the kind of limiter, its rate and capacity, what it is kept for, and what its
// headers mean.
//
//	answer, records, err := identify.Run(ctx, prober, identify.Config{MaxRequests: 2000, MaxTime: time.Minute})
//
// # How
//
// A request sent at s and answered at e was decided at an instant in [s, e] that
// nobody outside knows (unless the API says it: then intervals are points). For
// each kind of limiter and given parameters, bounds.go turns the history into
// bounds on the capacity: every admission needs at least so much, every throttle
// less than so much, whatever the latencies were. A kind with parameters explains
// the history if and only if a whole capacity lies within all bounds. All
// parameters that explain it make the interval that is told; a kind that none
// explain is ruled out, by the answers that contradict its best attempt.
//
//	token bucket      Lindley's recursion over the admissions, for each rate
//	fixed window      edges lie between a throttle and the admission behind it
//	sliding log       most and least admissions in a window, for each length
//	sliding counter   the same with the last window's share, for each length and phase
//	leaky queue       a bucket whose admissions are answered when their turn comes
//	concurrency       throttles beside full slots and none beside free ones
//	several limits    a bucket, and a slower one for the throttles it does not explain
//
// Each experiment is chosen from what is believed by then (session.go): drain it,
// see it recover, break its phase where two kinds are left, follow its tokens or
// its edges until the rate is sharp, refill it until the capacity is, compare
// clients to see what it is kept for, and take every token for a while to see
// whether a slower limit lies behind.
//
// # What it cannot know
//
// A limit that refills within the jitter of the network looks like any other of
// its rate, a window longer than the time allowed never ends, and a log of one
// request is a bucket of one. Then the answer is inconclusive, and says why.
package identify

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"weir/bench/attack"
	"weir/bench/record"
)

// A Config says what may be spent, and whom to compare.
type Config struct {
	MaxRequests int           // at least 50
	MaxTime     time.Duration // at least 1 s
	Seed        int64         // of the random pauses
	// Others are clients, routes and methods to compare with the first one.
	Others []Other
	// Progress, if set, is told how far the work is and what is believed.
	Progress func(Progress)
}

// An Other differs in one way from the client whose limit is worked out.
type Other struct {
	Name  string        // what differs, e.g. "client address"
	Calls []attack.Call // alike; a new one for each time they are compared
}

// Progress is how far an identification is.
type Progress struct {
	Requests int
	Elapsed  time.Duration
	Belief   string
}

// Run works out the limit behind a prober, whose target 0 is the client to begin
// with. The answer stands also beside an error; records are all that were made.
// Those of clients that share the limit have the key "", others the name of what
// differs.
func Run(ctx context.Context, prober Prober, config Config) (*Answer, []record.Record, error) {
	s := &session{
		Config: config, prober: prober, began: prober.Now(), tried: map[string]int{},
		random: rand.New(rand.NewPCG(uint64(config.Seed), 1)),
	}
	err := s.run(ctx)
	if s.belief == nil {
		s.update()
	}
	return s.answer(), append(s.records, s.others...), err
}

// An Answer is what was worked out. Numbers that are not known are absent.
type Answer struct {
	Verdict          string       `json:"verdict"` // "identified" or "inconclusive"
	Sentence         string       `json:"sentence"`
	Kind             string       `json:"kind"`
	Rate             float64      `json:"rate"` // per second
	RateInterval     Interval     `json:"rate_interval"`
	Capacity         float64      `json:"capacity"`
	CapacityInterval Interval     `json:"capacity_interval"`
	Window           float64      `json:"window_seconds,omitempty"` // of kinds with windows
	Phase            float64      `json:"phase_seconds,omitempty"`  // when a fixed window begins, after whole multiples of its length since the epoch
	Slower           *Slower      `json:"slower,omitempty"`         // the second of several limits
	Key              string       `json:"key"`
	Compared         []Comparison `json:"compared,omitempty"`
	CostVaries       string       `json:"cost_varies"`       // yes, no, not told
	ThrottledCharged string       `json:"throttled_charged"` // yes, no, not told, makes no difference
	RetryAfter       Meaning      `json:"retry_after"`
	Reset            Meaning      `json:"reset"`
	Remaining        Meaning      `json:"remaining"`
	Confidence       float64      `json:"confidence"` // 1 − 1/(1 + answers that speak against the nearest rival)
	Clock            string       `json:"clock"`      // whose clock the intervals are by: client's or limiter's
	RequestsSpent    int          `json:"requests_spent"`
	Seconds          float64      `json:"seconds_spent"`
	Missing          []string     `json:"missing,omitempty"` // what would have to be known
	Rivals           []Rival      `json:"rivals,omitempty"`

	belief *belief
}

// Conclusive says whether the limit was identified.
func (a *Answer) Conclusive() bool { return a.Verdict == Identified }

// The verdicts.
const (
	Identified   = "identified"
	Inconclusive = "inconclusive"
)

// A Slower is the second of several limits.
type Slower struct {
	Rate             float64  `json:"rate"`
	RateInterval     Interval `json:"rate_interval"`
	Capacity         float64  `json:"capacity"`
	CapacityInterval Interval `json:"capacity_interval"`
}

// A Comparison is what one difference between clients did.
type Comparison struct {
	What   string `json:"what"`
	Result string `json:"result"` // separate, shared, not told
}

// A Rival is a kind that was considered, and why it is not the answer.
type Rival struct {
	Kind        string  `json:"kind"`
	Unexplained int     `json:"unexplained"` // answers that speak against its best attempt
	Rate        float64 `json:"rate"`
	Capacity    float64 `json:"capacity"`
	Why         string  `json:"why"`
}

// answer sums the session up.
func (s *session) answer() *Answer {
	b, best := s.belief, s.belief.best()
	a := &Answer{
		Kind: best.kind, Clock: "client's", RequestsSpent: s.spent, Seconds: s.now(),
		Rate: best.rate.mid(), RateInterval: best.rate, Capacity: math.Round(best.capacity.mid()), CapacityInterval: best.capacity,
		Missing: s.missing, belief: b, Verdict: Identified,
	}
	if b.h.sharp {
		a.Clock = "limiter's"
	}
	switch best.kind {
	case FixedWindow:
		a.Window = best.period
		a.Phase = math.Mod(float64(s.began)/1e9+best.phase, best.period)
	case SlidingLog, SlidingCounter, Concurrency:
		a.Window = best.period
	case SeveralLimits:
		far := best.second
		a.Slower = &Slower{far.rate.mid(), far.rate, math.Round(far.capacity.mid()), far.capacity}
	}
	s.rivals(a)
	s.keys(a)
	s.headers(a)
	s.judge(a)
	a.finite()
	a.Sentence = a.sentence()
	return a
}

// finite makes numbers of what JSON cannot write.
func (a *Answer) finite() {
	for _, x := range []*float64{&a.Rate, &a.Capacity, &a.RateInterval[0], &a.RateInterval[1], &a.CapacityInterval[0], &a.CapacityInterval[1]} {
		if math.IsInf(*x, 0) || math.IsNaN(*x) {
			*x = 0
		}
	}
}

// Blunt is how wide an interval may be, half over its middle, for the answer to be
// one at all.
const blunt = 0.02

// judge says whether this is an answer, and what is missing where not.
func (s *session) judge(a *Answer) {
	b, best := s.belief, s.belief.best()
	if b.none {
		return // what was offered and not throttled says it all
	}
	miss := func(what string) { a.Missing = append(a.Missing, what) }
	rivals := b.rivals()
	switch wide := best.rate.width() / 2 / best.rate.mid(); {
	case !best.explains():
		miss(plural(best.unexplained, "answer") + " that no kind of limiter explains: is someone else using this limit?")
	case len(rivals) > 0:
		miss("what tells it from a " + list(rivals) + ": " + s.why())
	case wide > blunt:
		miss("the rate to better than ±" + number(100*wide) + " %: " + s.why())
	case best.capacity.width() > max(2, 2*blunt*best.capacity.mid()):
		miss("the capacity to better than " + number(best.capacity[0]) + "–" + number(best.capacity[1]) + ": " + s.why())
	}
	if len(a.Missing) > 0 {
		a.Verdict = Inconclusive
	}
}

// why is what kept the session from knowing more.
func (s *session) why() string {
	h := s.belief.h
	period := s.period()
	switch {
	case !h.sharp && h.patience() > period/4:
		return "answers take up to " + seconds(h.patience()) + ", and all is forgotten within " + seconds(period)
	case s.left() < reserve+10:
		return "the requests are used up (give more with --max-requests)"
	case s.timeLeft() < 0.1*s.MaxTime.Seconds():
		return "the time is used up (give more with --max-time)"
	}
	return "the experiments that tell are used up"
}

// rivals tells of each other kind why it is not the answer.
func (s *session) rivals(a *Answer) {
	b := s.belief
	nearest := math.MaxInt
	for i := range b.fits[1:] {
		f := &b.fits[i+1]
		r := Rival{Kind: f.kind, Unexplained: f.unexplained, Rate: f.rate.mid(), Capacity: math.Round(f.capacity.mid())}
		switch {
		case same(b.best(), f):
			r.Why = "with a capacity of 1 it is the same"
		case !f.explains():
			r.Why = "its best attempt leaves " + plural(f.unexplained, "answer") + " unexplained"
			nearest = min(nearest, f.unexplained)
		case b.best().kind == LeakyQueue:
			r.Why = "answers come later, the longer a queue would have them wait: " + number(b.delay) + " s for each second"
			nearest = min(nearest, int(b.delay/b.delayError))
		case b.best().kind == Concurrency:
			r.Why = "throttles come only beside requests still being served, each for " + seconds(b.held)
			nearest = min(nearest, len(b.h.throttles))
		default:
			r.Why = "not ruled out"
			nearest = 0
		}
		if math.IsNaN(r.Rate) || math.IsInf(r.Rate, 0) {
			r.Rate = 0
		}
		a.Rivals = append(a.Rivals, r)
	}
	s.unfitted(a)
	if nearest == math.MaxInt {
		nearest = len(b.h.answers)
	}
	a.Confidence = 1 - 1/(1+float64(max(0, nearest)))
}

// unfitted tells of the kinds whose marks were not seen at all.
func (s *session) unfitted(a *Answer) {
	b := s.belief
	marks := []struct{ kind, why string }{
		{LeakyQueue, "answers do not come later, the longer a queue would have them wait"},
		{Concurrency, "being served takes hardly longer than being throttled"},
		{SeveralLimits, "one limit explains all answers"},
	}
	for _, mark := range marks {
		if !b.none && !slices.ContainsFunc(b.fits, func(f fit) bool { return f.kind == mark.kind }) {
			a.Rivals = append(a.Rivals, Rival{Kind: mark.kind, Why: mark.why})
		}
	}
}
