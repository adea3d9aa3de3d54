// Package stats turns the records of one attack into numbers, in one pass and
// in bounded memory.
//
//	s := stats.New(started)
//	for each record { s.Add(&record) }
//	p99 := s.Outcome(record.Admitted).Latency.Quantile(0.99)
//
// Admitted, throttled and failed requests are never mixed: a throttled answer
// is quick, and would make a slow API look fast. A percentile is always read
// from the histogram of the very requests it speaks of; percentiles are never
// averaged.
//
// What depends on how many different values there are is bounded: the timeline
// coarsens (see [Timeline]), and keys, targets, errors and Retry-After values
// past a fixed number are counted together under [Rest]. A [Summary] of an hour
// at 10,000/s takes no more memory than one of a minute.
//
// Summaries are not safe for concurrent use; give each goroutine its own and
// [Summary.Merge] them.
package stats

import (
	"math"
	"strings"
	"time"

	"weir/bench/record"
)

// Bounds on what a Summary tells apart.
const (
	maxSteps        = 512     // of Timeline
	maxLatencySteps = 128     // of Latencies
	maxKeys         = 100_000 // keys counted one by one
	maxKeyLines     = 256     // keys with a timeline of their own
	maxTargets      = 8
	maxErrors       = 64
	maxWaits        = 64 // different Retry-After values
)

// Rest is the name under which the keys, targets and errors past the bound are
// counted together.
const Rest = "(others)"

// A Summary is what a set of records amounts to.
type Summary struct {
	Timeline  *Timeline[Cell, *Cell]               // counts over time
	Latencies *Timeline[LatencyCell, *LatencyCell] // latency over time
	SendLag   Histogram                            // sent − planned
	Gaps      Gaps                                 // between neighbouring requests, as sent
	Keys      Keys
	Targets   Targets
	Errors    Tally[string]  // of failed requests, by what went wrong
	Waits     Tally[float64] // Retry-After of throttled requests, in seconds
	NoWait    int64          // throttled requests that carried no Retry-After
	First     int64          // earliest planned or sent instant, ns since the epoch; 0 without records
	Last      int64          // latest done instant, ns since the epoch

	outcomes [len(record.Outcomes)]Outcome
}

// An Outcome is what is known of the requests that ended one way.
type Outcome struct {
	Count   int64
	Tokens  int64     // their cost
	Latency Histogram // done − planned: what a user feels
	Service Histogram // done − sent
}

// New begins a summary whose timeline starts at origin, in ns since the epoch:
// when the attack started.
func New(origin int64) *Summary {
	return &Summary{
		Timeline:  newTimeline[Cell](origin, finest, maxSteps),
		Latencies: newTimeline[LatencyCell](origin, 16*finest, maxLatencySteps),
		Keys:      Keys{origin: origin, index: map[string]*Key{}},
		Targets:   Targets{origin: origin},
		Errors:    Tally[string]{limit: maxErrors},
		Waits:     Tally[float64]{limit: maxWaits},
	}
}

// Outcome returns the numbers of one outcome.
func (s *Summary) Outcome(o record.Outcome) *Outcome { return &s.outcomes[o] }

// Count is how many records were added.
func (s *Summary) Count() int64 {
	total := int64(0)
	for i := range s.outcomes {
		total += s.outcomes[i].Count
	}
	return total
}

// Elapsed is the time from the first request to the last answer.
func (s *Summary) Elapsed() time.Duration { return time.Duration(s.Last - s.First) }

// Add counts one record. It keeps no reference to it.
func (s *Summary) Add(r *record.Record) {
	o := &s.outcomes[r.Outcome]
	o.Count++
	o.Tokens += r.Cost
	o.Latency.Record(r.Latency())
	o.Service.Record(r.Done - r.Sent)
	s.SendLag.Record(r.Sent - r.Planned)
	s.Gaps.add(r.Sent)
	s.addSpan(min(r.Planned, r.Sent), r.Done)

	s.Timeline.at(r.Planned).Planned++
	s.Timeline.at(r.Sent).Sent++
	s.Timeline.at(r.Done).add(r)
	s.Latencies.at(r.Planned).add(r)
	s.Keys.add(r)
	s.Targets.add(r)
	switch r.Outcome {
	case record.Failed:
		s.Errors.add(reason(r), 1)
	case record.Throttled:
		s.addWait(r.Quota.RetryAfter)
	case record.Admitted:
	}
}

func (s *Summary) addSpan(first, last int64) {
	if s.First == 0 || first < s.First {
		s.First = first
	}
	s.Last = max(s.Last, last)
}

func (s *Summary) addWait(seconds float64) {
	if math.IsNaN(seconds) { // the answer carried none
		s.NoWait++
		return
	}
	s.Waits.add(seconds, 1)
}

// Merge adds all that o counted; both must have the same origin, and o must not
// be used afterwards. The order of merging does not matter, except to Gaps: the
// gap between the last request of one and the first of the other is not known.
func (s *Summary) Merge(o *Summary) {
	if o.Count() == 0 {
		return
	}
	for i := range s.outcomes {
		s.outcomes[i].merge(&o.outcomes[i])
	}
	s.Timeline.merge(o.Timeline)
	s.Latencies.merge(o.Latencies)
	s.SendLag.Merge(&o.SendLag)
	s.Gaps.merge(&o.Gaps)
	s.Keys.merge(&o.Keys)
	s.Targets.merge(&o.Targets)
	s.Errors.merge(&o.Errors)
	s.Waits.merge(&o.Waits)
	s.NoWait += o.NoWait
	s.addSpan(o.First, o.Last)
}

func (o *Outcome) merge(p *Outcome) {
	o.Count += p.Count
	o.Tokens += p.Tokens
	o.Latency.Merge(&p.Latency)
	o.Service.Merge(&p.Service)
}

// A Cell is what happened within one step. Planned counts by the planned
// instant, Sent by the sent one, all else by the instant the answer was done:
// a correct limiter has then never admitted more by the end of a step than its
// limit allows by then.
type Cell struct {
	Planned, Sent int64
	Outcomes      [len(record.Outcomes)]int64 // by record.Outcome
	Tokens        int64                       // admitted cost
	Extremes      [len(record.Outcomes)]Extremes
}

// Extremes are the quickest and the slowest request of one outcome in a step.
type Extremes struct {
	Fastest, Slowest Point
}

// A Point is one request's latency; the zero Point is none.
type Point struct {
	Sent    int64 // ns since the epoch
	Latency time.Duration
	Status  int
}

func (c *Cell) add(r *record.Record) {
	c.Outcomes[r.Outcome]++
	if r.Outcome == record.Admitted {
		c.Tokens += r.Cost
	}
	p := Point{Sent: r.Sent, Latency: time.Duration(r.Latency()), Status: r.Status}
	c.Extremes[r.Outcome].merge(&Extremes{p, p})
}

func (c *Cell) merge(o *Cell) {
	c.Planned += o.Planned
	c.Sent += o.Sent
	c.Tokens += o.Tokens
	for i := range c.Outcomes {
		c.Outcomes[i] += o.Outcomes[i]
		c.Extremes[i].merge(&o.Extremes[i])
	}
}

func (e *Extremes) merge(o *Extremes) {
	if o.Fastest.Sent != 0 && (e.Fastest.Sent == 0 || o.Fastest.Latency < e.Fastest.Latency) {
		e.Fastest = o.Fastest
	}
	if o.Slowest.Sent != 0 && (e.Slowest.Sent == 0 || o.Slowest.Latency > e.Slowest.Latency) {
		e.Slowest = o.Slowest
	}
}

// A LatencyCell holds the latencies of the requests planned within one step.
type LatencyCell struct {
	outcomes [len(record.Outcomes)]small
	lag      small
}

// Outcome returns the latencies of one outcome.
func (c *LatencyCell) Outcome(o record.Outcome) *Histogram { return &c.outcomes[o].Histogram }

// SendLag returns how late the requests were sent.
func (c *LatencyCell) SendLag() *Histogram { return &c.lag.Histogram }

func (c *LatencyCell) add(r *record.Record) {
	c.outcomes[r.Outcome].record(r.Latency())
	c.lag.record(r.Sent - r.Planned)
}

func (c *LatencyCell) merge(o *LatencyCell) {
	for i := range c.outcomes {
		c.outcomes[i].merge(&o.outcomes[i])
	}
	c.lag.merge(&o.lag)
}

// reason names what went wrong with a failed request.
func reason(r *record.Record) string {
	switch {
	case r.Status == 0 && r.Error == "":
		return "no answer"
	case r.Status == 0:
		return strings.Clone(r.Error)
	case r.Error == "":
		return statusText(r.Status)
	}
	return statusText(r.Status) + ": " + r.Error
}
