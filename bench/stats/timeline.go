package stats

import "time"

// finest is the smallest step of a timeline. Steps are finest × 2^k, so a whole
// second is always one step or a whole number of them.
const finest = time.Second / 64

// A cell is what happened within one step of a timeline.
type cell[C any] interface {
	*C
	merge(*C) // adds a later or simultaneous cell, which is not used afterwards
}

// A Timeline cuts time into steps of one length, counted from its origin, and
// keeps one cell for each. It never holds more than a fixed number of cells:
// when time goes on past the last one, neighbours are merged in pairs and the
// step doubles. Memory so does not depend on how long an attack lasts.
type Timeline[C any, P cell[C]] struct {
	Origin int64         // ns since the epoch; earlier instants fall into the first step
	Step   time.Duration // length of a step
	Cells  []C           // from the origin to the last instant seen
	limit  int           // most cells, even
}

func newTimeline[C any, P cell[C]](origin int64, step time.Duration, limit int) *Timeline[C, P] {
	return &Timeline[C, P]{Origin: origin, Step: step, limit: limit}
}

// at returns the cell of an instant.
func (t *Timeline[C, P]) at(instant int64) P {
	elapsed := max(instant-t.Origin, 0)
	for elapsed/int64(t.Step) >= int64(t.limit) {
		t.double()
	}
	i := int(elapsed / int64(t.Step))
	if missing := i + 1 - len(t.Cells); missing > 0 {
		t.Cells = append(t.Cells, make([]C, missing)...)
	}
	return &t.Cells[i]
}

// double merges neighbours.
func (t *Timeline[C, P]) double() {
	half := (len(t.Cells) + 1) / 2
	for i := range half {
		pair := t.Cells[2*i]
		if 2*i+1 < len(t.Cells) {
			P(&pair).merge(&t.Cells[2*i+1])
		}
		t.Cells[i] = pair
	}
	clear(t.Cells[half:])
	t.Cells = t.Cells[:half]
	t.Step *= 2
}

// merge adds a timeline of the same origin, which is not used afterwards.
func (t *Timeline[C, P]) merge(o *Timeline[C, P]) {
	for t.Step < o.Step {
		t.double()
	}
	for o.Step < t.Step {
		o.double()
	}
	for i := range o.Cells {
		t.at(t.Origin + int64(i)*int64(t.Step)).merge(&o.Cells[i])
	}
}

// End is where step i ends, in seconds after the origin.
func (t *Timeline[C, P]) End(i int) float64 { return float64(i+1) * t.Step.Seconds() }
