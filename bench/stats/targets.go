package stats

import (
	"slices"
	"strings"
	"time"

	"weir/bench/record"
)

// Targets are the targets of an attack, at most a few.
type Targets struct {
	origin int64
	list   []*Target // in the order in which they were seen
}

// A Target is what happened at one target. Latencies here are service times of
// admitted requests: what the target itself takes to say yes.
type Target struct {
	Name     string                      // method and URL, or Rest
	Outcomes [len(record.Outcomes)]int64 // by record.Outcome
	Admitted Histogram                   // done − sent

	line *Timeline[small, *small]
}

// List returns the targets by name.
func (t *Targets) List() []*Target {
	list := slices.Clone(t.list)
	slices.SortFunc(list, func(a, b *Target) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (t *Targets) add(r *record.Record) {
	target := t.of(r.Target)
	target.Outcomes[r.Outcome]++
	if r.Outcome == record.Admitted {
		target.Admitted.Record(r.Done - r.Sent)
		target.line.at(r.Sent).record(r.Done - r.Sent)
	}
}

func (t *Targets) of(name string) *Target {
	for _, target := range t.list {
		if target.Name == name {
			return target
		}
	}
	if len(t.list) >= maxTargets {
		name = Rest
		if last := t.list[len(t.list)-1]; last.Name == Rest {
			return last
		}
	}
	target := &Target{Name: strings.Clone(name), line: newTimeline[small](t.origin, 16*finest, maxLatencySteps)}
	t.list = append(t.list, target)
	return target
}

func (t *Targets) merge(o *Targets) {
	for _, theirs := range o.list {
		mine := t.of(theirs.Name)
		for i := range mine.Outcomes {
			mine.Outcomes[i] += theirs.Outcomes[i]
		}
		mine.Admitted.Merge(&theirs.Admitted)
		mine.line.merge(theirs.line)
	}
}

// A Difference says how much longer one target takes than another at one
// quantile. The attack is cut into steps in which both were asked; within each
// the two quantiles are subtracted. The median of those differences and their
// quartiles then show how steady the difference is.
type Difference struct {
	Quantile          float64
	Median, Low, High time.Duration // Low and High are the quartiles
	Steps             int           // steps in which both targets admitted enough to tell
}

// enough is how many requests a step must hold for a quantile q to mean
// something: ten beyond it.
func enough(q float64) int64 { return int64(10 / (1 - q)) }

// Slower returns how much longer t takes than base at quantile q, for q from 0
// to below 1. Steps is 0 when no step of a second or more held enough requests.
func (t *Target) Slower(base *Target, q float64) Difference {
	ours, theirs := t.line, base.line
	for ours.Step < max(theirs.Step, time.Second) {
		ours.double()
	}
	for theirs.Step < ours.Step {
		theirs.double()
	}
	differences := []float64{}
	for i := range min(len(ours.Cells), len(theirs.Cells)) {
		a, b := &ours.Cells[i], &theirs.Cells[i]
		if min(a.Count(), b.Count()) < enough(q) {
			continue
		}
		differences = append(differences, float64(a.Quantile(q)-b.Quantile(q)))
	}
	d := Difference{Quantile: q, Steps: len(differences)}
	if d.Steps > 0 {
		spread := Describe(differences)
		d.Median, d.Low, d.High = time.Duration(spread.Median), time.Duration(spread.Low), time.Duration(spread.High)
	}
	return d
}
