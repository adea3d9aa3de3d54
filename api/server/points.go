package server

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir/api/limit"
)

// A Point is one second of decisions, as the Python predecessor's dashboard
// reads it. Seconds without a decision have no point.
type Point struct {
	TS        int64   `json:"ts"`         // Unix seconds
	Allowed   int64   `json:"allowed"`    // requests admitted in this second
	Blocked   int64   `json:"blocked"`    // requests throttled in this second
	Tokens    float64 `json:"tokens"`     // left in the bucket of the second's last decision
	LatencyMS float64 `json:"latency_ms"` // mean time of its decisions, milliseconds
}

// points is a ring of seconds. Its memory is set at the start, 40 bytes a
// second, however many requests come. A request adds with atomics; a lock is
// taken by the first of each second only.
type points struct {
	maxAge int64    // seconds
	ring   []second // maxAge and one more, so that the oldest readable is never the one being reset
	turn   sync.Mutex
	tokens atomic.Int64 // micro-tokens of the last decision that knew them
}

type second struct {
	ts, allowed, blocked, tokens, latency atomic.Int64 // latency: summed ns
}

func newPoints(maxAge time.Duration) *points {
	seconds := max(1, int64(maxAge/time.Second))
	return &points{maxAge: seconds, ring: make([]second, seconds+1)}
}

// add counts one decision made at ts. Remaining is below 0 where it is unknown.
func (p *points) add(ts int64, allowed bool, remaining int64, latency time.Duration) {
	s := &p.ring[ts%int64(len(p.ring))]
	if s.ts.Load() != ts && !p.begin(s, ts) {
		return
	}
	if allowed {
		s.allowed.Add(1)
	} else {
		s.blocked.Add(1)
	}
	if remaining >= 0 {
		p.tokens.Store(remaining)
	}
	s.tokens.Store(p.tokens.Load())
	s.latency.Add(int64(latency))
}

// begin clears s for ts. It reports false for a decision so late that its place
// in the ring has gone to a younger second.
func (p *points) begin(s *second, ts int64) bool {
	p.turn.Lock()
	defer p.turn.Unlock()
	if old := s.ts.Load(); old >= ts {
		return old == ts
	}
	s.allowed.Store(0)
	s.blocked.Store(0)
	s.latency.Store(0)
	s.ts.Store(ts)
	return true
}

// since returns the points of the last maxAge seconds up to now, oldest first.
func (p *points) since(now int64) []Point {
	found := []Point{}
	for ts := now - p.maxAge + 1; ts <= now; ts++ {
		s := &p.ring[ts%int64(len(p.ring))]
		if s.ts.Load() != ts {
			continue
		}
		allowed, blocked := s.allowed.Load(), s.blocked.Load()
		if allowed+blocked == 0 {
			continue
		}
		mean := float64(s.latency.Load()) / float64(allowed+blocked)
		found = append(found, Point{
			TS:        ts,
			Allowed:   allowed,
			Blocked:   blocked,
			Tokens:    float64(s.tokens.Load()) / limit.MicroToken,
			LatencyMS: math.Round(mean/1e3) / 1e3,
		})
	}
	return found
}
