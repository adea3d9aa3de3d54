package plan

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/api/limit"
)

// A Shape is how the load goes over time. It is written and read as text:
//
//	constant:500/s        500 requests a second, evenly spaced
//	ramp:10/s-500/s       from 10/s to 500/s, linearly over the plan's duration
//	step:100/s,200/s      each rate for an equal part of the duration
//	burst:20@1s           20 at once, every second
//	burst:20@1s+5s        the same after 5 s of silence
//	edge:20@1s            20 just before and 20 just after every full second of the wall clock
//	sine:50/s-150/s@10s   between 50/s and 150/s, one wave every 10 s, from the middle upwards
//	poisson:100/s         random arrivals, 100/s on average, exponential gaps
//	users:50              50 users, each sending its next request when it has the answer
//	max                   as fast as the target answers
//
// Rates are written as [limit.ParseRate] reads them. All shapes but users and
// max are open: they plan instants, whatever the target does. The closed two
// plan none.
//
// The smooth shapes send request n at the instant t at which
//
//	∫₀ᵗ rate(u) du = n        n = 0, 1, 2, …
//
// so the first leaves at 0 and any prefix is within one request of the integral.
type Shape struct {
	kind   string
	rates  []limit.Rate  // constant, poisson: 1; ramp, sine: low and high as written; step: each
	count  int           // burst, edge: requests at once; users: how many
	period time.Duration // burst, edge, sine
	offset time.Duration // burst, edge: shift of the first one
}

// Kinds of shapes.
const (
	kindConstant = "constant"
	kindRamp     = "ramp"
	kindStep     = "step"
	kindBurst    = "burst"
	kindEdge     = "edge"
	kindSine     = "sine"
	kindPoisson  = "poisson"
	kindUsers    = "users"
	kindMax      = "max"
)

// edgePart: an edge burst falls this part of the period before and after the
// edge: 20 ms for windows of 1 s.
const edgePart = 50

// Choices are examples of every shape, for messages and help texts.
const Choices = "constant:500/s, ramp:10/s-500/s, step:100/s,200/s, burst:20@1s[+5s], edge:20@1s[+250ms], " +
	"sine:50/s-150/s@10s, poisson:100/s, users:50 or max"

// Bounds that keep a slip of the pen from eating the machine.
const (
	maxBurst  = 1_000_000
	maxUsers  = 1_000_000
	maxPeriod = 24 * time.Hour
	maxRate   = 10_000_000 // requests a second
)

// Constant returns the shape constant:RATE.
func Constant(rate limit.Rate) Shape { return Shape{kind: kindConstant, rates: []limit.Rate{rate}} }

// ParseShape reads a shape.
func ParseShape(text string) (Shape, error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(text), ":")
	s := Shape{kind: kind}
	var err error
	switch kind {
	case kindConstant, kindPoisson:
		err = s.parseRates(rest, "")
	case kindStep:
		err = s.parseRates(rest, ",")
	case kindRamp:
		err = s.parseRates(rest, "-")
	case kindSine:
		var rates string
		if rates, err = s.parsePeriod(rest); err == nil {
			err = s.parseRates(rates, "-")
		}
	case kindBurst, kindEdge:
		var count string
		if count, err = s.parsePeriod(rest); err == nil {
			s.count, err = parseCount(count, "requests", maxBurst)
		}
	case kindUsers:
		s.count, err = parseCount(rest, "users", maxUsers)
	case kindMax:
		if rest != "" {
			err = fmt.Errorf("max takes nothing after it, got %q", rest)
		}
	default:
		err = fmt.Errorf("unknown shape %q", kind)
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Shape{}, fmt.Errorf("parse shape %q: %w (want %s)", text, err, Choices)
	}
	return s, nil
}

// parseRates reads one rate, or several with a separator between them.
func (s *Shape) parseRates(text, separator string) error {
	parts := []string{text}
	if separator != "" {
		parts = strings.Split(text, separator)
	}
	if separator == "-" && len(parts) != 2 {
		return fmt.Errorf("want two rates with a - between them, got %q", text)
	}
	for _, part := range parts {
		rate, err := limit.ParseRate(part)
		if err != nil {
			return err
		}
		if rate.PerSecond() > maxRate {
			return fmt.Errorf("rate %s is above %d/s", rate, maxRate)
		}
		s.rates = append(s.rates, rate)
	}
	return nil
}

// parsePeriod reads the part behind @, PERIOD[+OFFSET], and returns the part
// before it.
func (s *Shape) parsePeriod(text string) (before string, err error) {
	before, period, found := strings.Cut(text, "@")
	if !found {
		return "", fmt.Errorf("no period, want e.g. @1s behind %q", text)
	}
	period, offset, shifted := strings.Cut(period, "+")
	if s.period, err = time.ParseDuration(period); err != nil {
		return "", fmt.Errorf("period %q is not a duration such as 1s", period)
	}
	if s.period < time.Millisecond || s.period > maxPeriod {
		return "", fmt.Errorf("period %s is not between 1ms and %s", s.period, maxPeriod)
	}
	if !shifted {
		return before, nil
	}
	if s.kind == kindSine {
		return "", fmt.Errorf("sine takes no offset, got %q", offset)
	}
	if s.offset, err = time.ParseDuration(offset); err != nil {
		return "", fmt.Errorf("offset %q is not a duration such as 250ms", offset)
	}
	if s.offset < 0 || s.offset > maxPeriod {
		return "", fmt.Errorf("offset %s is not between 0s and %s", s.offset, maxPeriod)
	}
	return before, nil
}

func parseCount(text, what string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%q is not a number of %s between 1 and %d", text, what, most)
	}
	return n, nil
}

// check refuses shapes that would never send anything, or that mislead.
func (s Shape) check() error {
	highest := 0.0
	for _, rate := range s.rates {
		highest = max(highest, rate.PerSecond())
	}
	switch {
	case len(s.rates) > 0 && highest == 0:
		return errors.New("a rate of 0 sends nothing")
	case s.kind == kindSine && s.rates[0].PerSecond() > s.rates[1].PerSecond():
		return fmt.Errorf("the lower rate comes first, got %s before %s", s.rates[0], s.rates[1])
	}
	return nil
}

// String writes the shape as [ParseShape] reads it.
func (s Shape) String() string {
	rates := make([]string, len(s.rates))
	for i, rate := range s.rates {
		rates[i] = rate.String()
	}
	shift := ""
	if s.offset > 0 {
		shift = "+" + short(s.offset)
	}
	switch s.kind {
	case kindConstant, kindPoisson:
		return s.kind + ":" + rates[0]
	case kindStep:
		return s.kind + ":" + strings.Join(rates, ",")
	case kindRamp:
		return s.kind + ":" + strings.Join(rates, "-")
	case kindSine:
		return s.kind + ":" + strings.Join(rates, "-") + "@" + short(s.period)
	case kindBurst, kindEdge:
		return s.kind + ":" + strconv.Itoa(s.count) + "@" + short(s.period) + shift
	case kindUsers:
		return s.kind + ":" + strconv.Itoa(s.count)
	}
	return s.kind
}

// short writes a duration without the zero units at its end: 1m, not 1m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText writes the shape as [ParseShape] reads it.
func (s Shape) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what [ParseShape] reads, and the empty text of a run that
// was recorded by another tool, whose shape is unknown.
func (s *Shape) UnmarshalText(text []byte) (err error) {
	*s = Shape{}
	if len(text) > 0 {
		*s, err = ParseShape(string(text))
	}
	return err
}

// Closed reports whether the next request waits for an answer (users, max), so
// that no instants are planned.
func (s Shape) Closed() bool { return s.kind == kindUsers || s.kind == kindMax }

// Users is how many users a closed shape plays: 0 for max, which leaves it to
// the plan's Workers, and for open shapes.
func (s Shape) Users() int {
	if s.kind == kindUsers {
		return s.count
	}
	return 0
}

// Burst is how many requests leave at once: 1 for smooth shapes.
func (s Shape) Burst() int {
	if s.kind == kindBurst || s.kind == kindEdge {
		return s.count
	}
	return 1
}

// catchUp is how late a request may be sent unless the plan says otherwise. A
// burst that is sent late is still the burst that was planned, so it has a tenth
// of its period, which also gives it time to leave; but what belongs before an
// edge must not slip behind it.
func (s Shape) catchUp() time.Duration {
	switch s.kind {
	case kindBurst:
		return max(defaultCatchUp, s.period/10)
	case kindEdge:
		return s.period / edgePart
	}
	return defaultCatchUp
}

// Align is the wall clock's multiple at which the plan must start, e.g. 1s; 0
// means at once. Windows of fixed-window limiters start at such multiples.
func (s Shape) Align() time.Duration {
	if s.kind == kindEdge {
		return s.period
	}
	return 0
}

// Rate is the rate at an instant of a plan of this duration, in requests a
// second. Bursts count with the mean over their period, closed shapes as 0.
func (s Shape) Rate(at, duration time.Duration) float64 {
	if at < 0 || at >= duration {
		return 0
	}
	switch s.kind {
	case kindConstant, kindPoisson:
		return s.rates[0].PerSecond()
	case kindRamp:
		low, high := s.rates[0].PerSecond(), s.rates[1].PerSecond()
		return low + (high-low)*at.Seconds()/duration.Seconds()
	case kindStep:
		i := int(float64(len(s.rates)) * at.Seconds() / duration.Seconds())
		return s.rates[min(i, len(s.rates)-1)].PerSecond()
	case kindSine:
		mean, swing := s.wave()
		return mean + swing*math.Sin(2*math.Pi*at.Seconds()/s.period.Seconds())
	case kindBurst, kindEdge:
		if at < s.offset {
			return 0
		}
		return float64(s.perPeriod()) / s.period.Seconds()
	}
	return 0
}

// wave returns the mean and the amplitude of a sine.
func (s Shape) wave() (mean, swing float64) {
	low, high := s.rates[0].PerSecond(), s.rates[1].PerSecond()
	return (low + high) / 2, (high - low) / 2
}

// perPeriod is how many requests a burst or an edge sends each period.
func (s Shape) perPeriod() int {
	if s.kind == kindEdge {
		return 2 * s.count
	}
	return s.count
}

// Total is how many requests a plan of this duration has: exact for all open
// shapes but poisson, where it is the mean; 0 for closed shapes.
func (s Shape) Total(duration time.Duration) int64 {
	if duration <= 0 {
		return 0
	}
	switch s.kind {
	case kindUsers, kindMax, "":
		return 0
	case kindBurst, kindEdge:
		total := int64(0)
		for range s.salvoes(duration) {
			total += int64(s.count)
		}
		return total
	}
	// Requests 0, 1, 2, … below the integral; the slack forgives rounding.
	return int64(math.Ceil(s.integral(duration.Seconds(), duration.Seconds()) - 1e-6))
}

// Arrivals yields the planned instants as offsets from the start, in order, all
// of them below duration. The same seed gives the same instants; only poisson
// depends on it. Closed shapes yield nothing.
func (s Shape) Arrivals(seed int64, duration time.Duration) iter.Seq[time.Duration] {
	switch s.kind {
	case kindUsers, kindMax, "":
		return func(func(time.Duration) bool) {}
	case kindPoisson:
		return s.poisson(seed, duration)
	case kindBurst, kindEdge:
		return func(yield func(time.Duration) bool) {
			for at := range s.salvoes(duration) {
				for range s.count {
					if !yield(at) {
						return
					}
				}
			}
		}
	}
	return func(yield func(time.Duration) bool) {
		last := time.Duration(0)
		for n := range s.Total(duration) {
			at := time.Duration(math.Round(s.inverse(float64(n), duration.Seconds()) * 1e9))
			last = min(max(last, at), duration-1) // rounding keeps neither order nor bound
			if !yield(last) {
				return
			}
		}
	}
}

func (s Shape) poisson(seed int64, duration time.Duration) iter.Seq[time.Duration] {
	mean := 1e9 / s.rates[0].PerSecond()
	return func(yield func(time.Duration) bool) {
		random := rand.New(rand.NewPCG(uint64(seed), 0x77656972))
		for at := random.ExpFloat64() * mean; at < float64(duration); at += random.ExpFloat64() * mean {
			if !yield(time.Duration(at)) {
				return
			}
		}
	}
}

// salvoes yields the instants of the bursts.
func (s Shape) salvoes(duration time.Duration) iter.Seq[time.Duration] {
	either := time.Duration(0) // how far from the edge
	if s.kind == kindEdge {
		either = s.period / edgePart
	}
	return func(yield func(time.Duration) bool) {
		for start := s.offset; start-either < duration; start += s.period {
			// An edge at the very start has only its second half.
			if either > 0 && start >= either && !yield(start-either) {
				return
			}
			if start+either < duration && !yield(start+either) {
				return
			}
		}
	}
}

// integral is how many requests the rate adds up to in the first t seconds.
func (s Shape) integral(t, duration float64) float64 {
	switch s.kind {
	case kindRamp:
		low, high := s.rates[0].PerSecond(), s.rates[1].PerSecond()
		return low*t + (high-low)*t*t/(2*duration)
	case kindStep:
		part, total := duration/float64(len(s.rates)), 0.0
		for i, rate := range s.rates {
			total += rate.PerSecond() * min(max(t-float64(i)*part, 0), part)
		}
		return total
	case kindSine:
		mean, swing := s.wave()
		turn := 2 * math.Pi / s.period.Seconds()
		return mean*t + swing/turn*(1-math.Cos(turn*t))
	}
	return s.rates[0].PerSecond() * t
}

// inverse is the earliest t at which the integral is n.
func (s Shape) inverse(n, duration float64) float64 {
	switch s.kind {
	case kindRamp:
		// low·t + (high−low)/(2D)·t² = n, solved in the form that also holds for
		// high = low and loses no digits when they are close.
		low, high := s.rates[0].PerSecond(), s.rates[1].PerSecond()
		root := math.Sqrt(max(low*low+2*(high-low)*n/duration, 0))
		if low+root == 0 {
			return 0
		}
		return 2 * n / (low + root)
	case kindStep:
		part, before := duration/float64(len(s.rates)), 0.0
		for i, rate := range s.rates {
			here := rate.PerSecond() * part
			if n < before+here {
				return float64(i)*part + (n-before)/rate.PerSecond()
			}
			before += here
		}
		return duration
	case kindSine:
		return s.bisect(n, duration)
	}
	return n / s.rates[0].PerSecond()
}

// bisect inverts the integral where no formula does. The integral lies within
// one wave's swing of mean·t, which brackets the answer.
func (s Shape) bisect(n, duration float64) float64 {
	mean, swing := s.wave()
	width := swing * s.period.Seconds() / math.Pi / mean
	low, high := max(n/mean-width, 0), min(n/mean, duration)
	for high-low > 1e-10 {
		if middle := (low + high) / 2; s.integral(middle, duration) < n {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// Equal reports whether two shapes plan the same.
func (s Shape) Equal(other Shape) bool {
	return s.kind == other.kind && slices.Equal(s.rates, other.rates) && s.count == other.count &&
		s.period == other.period && s.offset == other.offset
}
