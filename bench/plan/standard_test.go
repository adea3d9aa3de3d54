package plan_test

import (
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/plan"
)

var base = []string{"http://127.0.0.1:8000", "http://127.0.0.1:8001"}

func TestStandardPlansAreValid(t *testing.T) {
	for _, quick := range []bool{false, true} {
		seen := map[string]bool{}
		for _, entry := range plan.Standard(7, quick) {
			p := entry.At(base[:entry.Processes])
			if err := p.Validate(); err != nil {
				t.Errorf("quick %t: %v", quick, err)
			}
			if seen[p.Name] || p.Question == "" || p.Seed != 7 || !p.Fresh {
				t.Errorf("quick %t: plan %+v, want a name of its own, a question, seed 7, fresh buckets", quick, p)
			}
			seen[p.Name] = true
			if want := len(entry.Paths) * entry.Processes; len(p.Targets) != want {
				t.Errorf("plan %s has %d targets, want %d", p.Name, len(p.Targets), want)
			}
		}
	}
}

// Leaving room for what comes around the plans: starts, judging, the report.
func TestStandardFitsItsTime(t *testing.T) {
	for _, test := range []struct {
		quick bool
		most  time.Duration
	}{{true, 48 * time.Second}, {false, 165 * time.Second}} {
		sum := time.Duration(0)
		for _, entry := range plan.Standard(1, test.quick) {
			sum += entry.Plan.Duration
		}
		if sum > test.most {
			t.Errorf("quick %t: the plans take %s, want at most %s", test.quick, sum, test.most)
		}
	}
}

// A plan above its limit must see throttling within its duration, one below
// must not: otherwise it cannot answer its question.
func TestStandardLoadFitsItsLimit(t *testing.T) {
	for _, quick := range []bool{false, true} {
		for _, entry := range plan.Standard(1, quick) {
			p := &entry.Plan
			if p.Limit == nil || p.Shape.Closed() {
				continue
			}
			keys, buckets := p.Chooser(), map[string]limit.State{}
			n, throttled := uint64(0), 0
			for at := range p.Shape.Arrivals(p.Seed, p.Duration) {
				key := keys.Key(n)
				n++
				var decision limit.Decision
				decision, buckets[key] = p.Limit.Take(buckets[key], 1+at.Microseconds(), 1)
				if !decision.Allowed {
					throttled++
				}
			}
			if (p.Name == "steady") != (throttled == 0) {
				t.Errorf("quick %t: plan %s is throttled %d times of %d by %s", quick, p.Name, throttled, n, p.Limit)
			}
		}
	}
}
