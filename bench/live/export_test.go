package live

import (
	"time"

	"weir/bench/plan"
	"weir/bench/record"
)

// Remember gives the page a past: an attack that has run for so long, with answers
// in every step of its history.
func (s *Server) Remember(past time.Duration, shape plan.Shape) {
	start := time.Now().Add(-past)
	p := &plan.Plan{Name: "live", Shape: shape, Duration: 2 * past}
	m := newMeter(start.UnixNano(), func(at time.Duration) (rate, users float64) { return planned(p, shape.Rate(at, p.Duration), 0) })
	var batch []record.Record
	for at := time.Duration(1); at < past; at += 25 * time.Millisecond {
		done := start.Add(at).UnixNano()
		batch = append(batch[:0], record.Record{
			Planned: done - int64(time.Millisecond), Sent: done - int64(time.Millisecond)/2, Done: done, Cost: 1,
			Outcome: record.Outcome(at/25/time.Millisecond%3) % 3, Target: "GET http://127.0.0.1/", Key: "live-0",
		})
		m.add(batch)
		m.history.take()
	}
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	s.session.meter = m
	s.session.state = State{
		Phase: phaseRunning, Run: "past", Load: shape.String(), Started: start, Duration: p.Duration.Seconds(), Edits: []Edit{}, Edit: "rate",
	}
}
