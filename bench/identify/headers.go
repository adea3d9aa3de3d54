package identify

import (
	"math"

	"weir/bench/record"
)

// Answers to yes-or-no questions.
const (
	yes          = "yes"
	no           = "no"
	noDifference = "makes no difference"
)

// A Meaning is what a header means in this API, and whether it is true.
type Meaning struct {
	Unit  string  `json:"unit,omitempty"`    // seconds, milliseconds, epoch seconds, epoch milliseconds, tokens; absent without the header
	Until string  `json:"until,omitempty"`   // of waits: until the next is admitted, or until all is there again
	True  string  `json:"true,omitempty"`    // yes, no, not told
	Early float64 `json:"early_s,omitempty"` // how much too early it was, at most
	Late  float64 `json:"late_s,omitempty"`  // how much too late, at most
	Seen  int     `json:"seen,omitempty"`    // answers it rests on
}

// words describe a meaning.
func (m *Meaning) words(name string) string {
	switch {
	case m.Unit == "":
		return "no " + name
	case m.True == notTold:
		return name + " not told"
	}
	unit := ""
	if m.Unit != "seconds" {
		unit = " in " + m.Unit
	}
	switch {
	case m.True == no && m.Early > m.Late:
		return name + unit + " too early by up to " + seconds(m.Early)
	case m.True == no:
		return name + unit + " too late by up to " + seconds(m.Late)
	case m.Late <= 0.05:
		return name + unit + " honest"
	}
	return name + unit + " honest (rounded up ≤ 1 s)"
}

// A wait is what an answer said, and in which interval the truth lies.
type wait struct {
	told   float64 // as sent
	at     float64 // Unix seconds of the answer
	actual Interval
}

// headers works out what the headers mean.
func (s *session) headers(a *Answer) {
	h := s.belief.h
	waits := h.waits()
	a.RetryAfter = s.meaning(waits, "until the next is admitted", func(q *record.Quota) float64 { return q.RetryAfter })
	reset := func(q *record.Quota) float64 {
		if math.IsNaN(q.Reset) {
			return q.FieldReset
		}
		return q.Reset
	}
	a.Reset = s.meaning(waits, "until the next is admitted", reset)
	if full := s.meaning(s.full(), "until all is there again", reset); full.True == yes && a.Reset.True != yes {
		a.Reset = full
	}
	a.Remaining, a.CostVaries = s.remaining()
	a.ThrottledCharged = s.charged()
}

// waits are how long each throttled request would really have had to wait: longer
// than until a later throttle with no admission possible in between, not longer
// than until the next admission. No kind of limiter need be known for that.
func (h *history) waits() map[int]Interval {
	found := map[int]Interval{}
	for i := 0; i < len(h.answers); {
		end := i
		for end < len(h.answers) && !h.answers[end].admitted {
			end++
		}
		if end == len(h.answers) {
			break
		}
		for k := i; k < end; k++ {
			now, next := h.answers[k].span, h.answers[end].span
			if next.from <= now.to {
				continue // which came first is not known
			}
			last := end - 1
			for last > k && h.startedBefore(h.answers[last].to) != h.endedBefore(now.from) {
				last--
			}
			found[k] = Interval{max(0, h.answers[last].from-now.to), next.to - now.from}
		}
		i = end + 1
	}
	return found
}

// full are the times until a bucket is full again, by the answers.
func (s *session) full() map[int]Interval {
	f := s.belief.best()
	if f.kind != TokenBucket && f.kind != LeakyQueue {
		return nil
	}
	found := map[int]Interval{}
	for i, level := range s.levels() {
		left := (f.capacity.mid() - level) / f.rate.mid()
		found[i] = Interval{left, left}
	}
	return found
}

// levels are the tokens after each answer, where they can be followed.
func (s *session) levels() map[int]float64 {
	f, h := s.belief.best(), s.belief.h
	found := map[int]float64{}
	capacity, rate := f.capacity.mid(), f.rate.mid()
	if f.kind != TokenBucket {
		return found
	}
	level, last := capacity, math.Inf(-1)
	for i := range h.answers {
		a := &h.answers[i]
		at := a.mid()
		if at > last {
			if !math.IsInf(last, -1) {
				level = min(capacity, level+(at-last)*rate)
			}
			last = at
		}
		if a.admitted {
			level--
		}
		found[i] = max(level, 0)
	}
	return found
}

// meaning finds the unit in which what was told fits best to what is known.
func (s *session) meaning(waits map[int]Interval, until string, told func(*record.Quota) float64) Meaning {
	h := s.belief.h
	var seen []wait
	present := false
	for i := range h.answers {
		v := told(h.answers[i].quota)
		if math.IsNaN(v) {
			continue
		}
		present = true
		if actual, known := waits[i]; known {
			seen = append(seen, wait{v, float64(s.began)/1e9 + h.answers[i].done, actual})
		}
	}
	switch {
	case !present:
		return Meaning{}
	case len(seen) == 0:
		return Meaning{Unit: "seconds", True: notTold}
	}
	best, most := Meaning{}, -1
	for _, unit := range []struct {
		name string
		wait func(w *wait) float64
	}{
		{"seconds", func(w *wait) float64 { return w.told }},
		{"milliseconds", func(w *wait) float64 { return w.told / 1e3 }},
		{"epoch seconds", func(w *wait) float64 { return w.told - w.at }},
		{"epoch milliseconds", func(w *wait) float64 { return w.told/1e3 - w.at }},
	} {
		m := Meaning{Unit: unit.name, Until: until, Seen: len(seen), True: yes}
		fits := 0
		for i := range seen {
			says := unit.wait(&seen[i])
			early, late := seen[i].actual[0]-says, says-seen[i].actual[1]
			m.Early, m.Late = max(m.Early, early), max(m.Late, late)
			if early <= early0 && late <= 1.05 {
				fits++
			}
		}
		if m.Early > early0 || m.Late > 1.05 {
			m.True = no
		}
		if fits > most {
			best, most = m, fits
		}
	}
	return best
}

// early0 is how much too early a wait may seem for want of exact clocks.
const early0 = 5e-3

// remaining says whether Remaining is true, and whether requests cost alike.
func (s *session) remaining() (m Meaning, varies string) {
	h := s.belief.h
	left := func(i int) float64 {
		q := h.answers[i].quota
		if math.IsNaN(q.Remaining) {
			return q.FieldLeft
		}
		return q.Remaining
	}
	levels := s.levels()
	wrong, rate := 0, s.belief.best().rate.mid()
	for i := range h.answers {
		told := left(i)
		if math.IsNaN(told) {
			continue
		}
		m.Unit = "tokens"
		if level, known := levels[i]; known {
			m.Seen++
			if math.Abs(told-level) > 1.1+rate*(h.answers[i].to-h.answers[i].from) {
				wrong++
			}
		}
	}
	switch {
	case m.Unit == "":
		return m, notTold
	case m.Seen == 0:
		m.True = notTold
	case wrong > m.Seen/50:
		m.True = no
	default:
		m.True = yes
	}
	if m.True != yes {
		return m, notTold
	}
	return m, no // each admission took one token of what was told
}

// charged says whether throttled requests are charged, which the best kind takes
// them not to be: it explains the history, and so many throttles came between
// admissions that charges would have shown.
func (s *session) charged() string {
	b, f := s.belief, s.belief.best()
	switch {
	case b.none || !f.explains():
		return notTold
	case f.kind == FixedWindow || f.kind == Concurrency:
		return noDifference
	case len(b.h.waits()) < 3: // throttles with an admission behind them
		return notTold
	}
	return no
}
