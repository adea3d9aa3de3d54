package judge

import (
	"math"

	"weir/bench/record"
)

// A Reset is whatever an API wants it to be: seconds until the bucket is full, or
// until there is more, or until a window ends; or milliseconds; or the Unix time of
// that. So each reset is held against every usual meaning at once, over all answers
// that carry it. An API has one meaning: what fits every answer is told, and only
// where nothing does is the header a contradiction, of the meaning it is nearest to.
//
// Each meaning announces an instant A. It has to agree with the levels:
//
//   - full: A − p is (B − L)/r, with L between the levels.
//   - more: A − p is at most what a token takes, or what this request lacks; and at
//     least what is missing of one token, where none is there.
//   - window: A − p is at most B/r, or the window that the policy states; until A it
//     stays, and the next one is a window later.
//
// And A never goes back: a bucket is full no sooner for being taken from, the next
// token comes after this one, windows follow each other. (More of it may go back
// where costs differ.) That is held against the latest A among the answers that
// were there before the request was sent.
//
// The limiter may round to its unit either way, count in millionths of a token, and read another clock to say it,
// up to the end of the request; the Unix time may be up to a day beside ours, but
// always by as much.
type resetMeaning struct {
	words string
	unit  int64 // ns
	epoch bool
	what  announced
}

type announced int

const (
	isFull announced = iota
	isMore
	windowEnds
)

// meanings are all that are usual, the likeliest first; those of RateLimit t, which
// is in seconds from now, lead.
var meanings = [...]resetMeaning{
	{"seconds until the bucket is full", 1e9, false, isFull},
	{"seconds until there is more", 1e9, false, isMore},
	{"seconds until a window ends", 1e9, false, windowEnds},
	{"the Unix time in seconds at which the bucket is full", 1e9, true, isFull},
	{"the Unix time in seconds at which there is more", 1e9, true, isMore},
	{"the Unix time in seconds at which a window ends", 1e9, true, windowEnds},
	{"milliseconds until the bucket is full", 1e6, false, isFull},
	{"milliseconds until there is more", 1e6, false, isMore},
	{"milliseconds until a window ends", 1e6, false, windowEnds},
	{"the Unix time in milliseconds at which the bucket is full", 1e6, true, isFull},
	{"the Unix time in milliseconds at which there is more", 1e6, true, isMore},
	{"the Unix time in milliseconds at which a window ends", 1e6, true, windowEnds},
}

const (
	fieldMeanings = 3 // of RateLimit t
	clockBeside   = 86400e9
	mostReset     = 4e18 // ns: the year 2096
	mostRefill    = 1e17 // ns: three years
)

// resetFindings are what one history says of one header.
type resetFindings struct {
	header  string
	answers int64
	misfits [len(meanings)]int64   // answers that the meaning does not fit
	by      [len(meanings)]float64 // ns: the most that they miss it by
	lies    [len(meanings)][]Contradiction
	among   int // how many of the meanings there are
}

// A resetWatch goes over one history.
type resetWatch struct {
	*resetFindings
	said    func(row int32) float64
	h       *history
	window  span    // ns: how long one is
	oneCost bool    // then not even more goes back
	byEnd   []int32 // the answered requests
	at      int     // of byEnd: the next that may have come before
	latest  [len(meanings)]span
	beside  [len(meanings)]span // of the limiter's clock beside ours, as far as it is known
}

type span struct{ from, to int64 }

// resetWatches are for the headers of a history that carry a reset of this limit.
func (t *trial) resetWatches(f *findings, h *history) (list []*resetWatch) {
	watch := func(header string, among int, said func(int32) float64) {
		f.resets = append(f.resets, &resetFindings{header: header, among: among})
		w := &resetWatch{resetFindings: f.resets[len(f.resets)-1], said: said, h: h, oneCost: t.cols.oneCost(h.row)}
		s := &h.scale
		refill := s.full / s.rate * s.step
		w.window = span{refill, refill}
		if stated := int64(t.notes.window * 1e9); stated > 0 {
			w.window = span{min(refill, stated), max(refill, stated)}
		}
		for m := range w.latest {
			w.latest[m].from, w.beside[m] = math.MinInt64, span{-clockBeside, clockBeside}
		}
		list = append(list, w)
	}
	if h.scale.rate == 0 || float64(h.scale.full)/float64(h.scale.rate)*float64(h.scale.step) > mostRefill {
		return nil
	}
	if t.cols.reset != nil && !t.notes.other {
		watch("X-RateLimit-Reset", len(meanings), func(row int32) float64 { return t.cols.reset[row] })
	}
	if t.cols.more != nil && !t.notes.otherPolicy {
		watch("RateLimit t", fieldMeanings, func(row int32) float64 { return optional(t.cols.more, row) })
	}
	if len(list) > 0 {
		byEnd := make([]int32, 0, len(h.start))
		for i := range h.start {
			if h.outcome(i) != record.Failed {
				byEnd = append(byEnd, int32(i))
			}
		}
		sortRows(byEnd, func(i int32) int64 { return h.end[i] }, &t.scratch)
		for _, w := range list {
			w.byEnd = byEnd
		}
	}
	return list
}

// check holds what the answer to request i announces against the levels, least and
// most, its own charge taken, and against earlier answers.
func (w *resetWatch) check(key string, i int, least, most int64) {
	h := w.h
	for w.at < len(w.byEnd) && h.end[w.byEnd[w.at]] < h.start[i] {
		w.remember(int(w.byEnd[w.at]))
		w.at++
	}
	said := w.said(h.row[i])
	if !present(said) {
		return
	}
	w.answers++
	until := func(level int64) int64 { return max(level, 0) / h.scale.rate * h.scale.step }
	least = max(least, -h.scale.full) // of a limiter that admitted too much
	full := span{until(h.scale.full - most), until(h.scale.full-least) + h.scale.step}
	lacking := max(h.cost[i]*h.scale.unit-least, h.scale.unit)
	waits := [...]span{isFull: full, isMore: {until(h.scale.unit - most), until(lacking) + h.scale.step}, windowEnds: {0, w.window.to}}
	for m := range meanings[:w.among] {
		shift, back := w.misses(m, i, said, waits[meanings[m].what])
		if shift == 0 {
			continue
		}
		why := ResetMeansNothing
		if back {
			why = ResetGoesBack
		}
		w.misfits[m]++
		w.by[m] = max(w.by[m], math.Abs(float64(shift)))
		w.lies[m] = appendSome(w.lies[m], Contradiction{
			Key: key, SentNS: h.cols.sent[h.row[i]], Header: w.header, Said: said,
			Limit: said + float64(shift)/float64(meanings[m].unit), Why: why + " to " + meanings[m].words,
		})
	}
}

// instant is when the answer to request i announces, from and to: in ns since the
// history's origin, or since the epoch.
func (w *resetWatch) instant(m, i int, said float64) (a span, ok bool) {
	mean, h := &meanings[m], w.h
	if said*float64(mean.unit) > mostReset {
		return a, false
	}
	s := &h.scale
	ns, slack := int64(said*float64(mean.unit)), mean.unit+h.opt.tick()+s.driftUp(h.end[i])+(s.unit/s.rate/1e6+1)*s.step
	if mean.epoch {
		return span{ns - slack - (h.end[i] - h.start[i]) - h.answered(i), ns + slack}, true
	}
	return span{h.start[i] + ns - slack, h.end[i] + ns + slack + h.answered(i)}, true
}

// remember takes note of an answer that was there before.
func (w *resetWatch) remember(i int) {
	said := w.said(w.h.row[i])
	if !present(said) {
		return
	}
	for m := range meanings[:w.among] {
		if a, ok := w.instant(m, i, said); ok && a.from > w.latest[m].from {
			w.latest[m] = a
		}
	}
}

// misses is by how many ns what was said misses a meaning, 0 when it fits, and
// whether that is because it went back.
func (w *resetWatch) misses(m, i int, said float64, wait span) (shift int64, back bool) {
	mean, h := &meanings[m], w.h
	a, ok := w.instant(m, i, said)
	if !ok {
		return -mostReset, false
	}
	earlier := &w.latest[m]
	if earlier.from > a.to && (mean.what != isMore || w.oneCost) {
		return earlier.from - a.to, true
	}
	if next := earlier.from + w.window.from; mean.what == windowEnds && earlier.from != math.MinInt64 && a.from > earlier.to && a.to < next {
		return next - a.to, false // neither that window nor the one after it
	}
	begin, end := h.start[i], h.end[i]
	if mean.epoch {
		begin, end = begin+h.origin, end+h.origin
		// A is within begin + wait.from and end + wait.to, but for how far the clock is beside.
		known := &w.beside[m]
		narrow := span{max(known.from, a.from-end-wait.to), min(known.to, a.to-begin-wait.from)}
		if narrow.from > narrow.to {
			return narrow.to - narrow.from, false
		}
		*known = narrow
		end += known.to
	} else if over := a.from - begin - wait.to; over > 0 {
		return -over, false
	} else if short := end + wait.from - a.to; short > 0 {
		return short, false
	}
	slack := h.scale.driftUp(h.end[i])
	if mean.what == windowEnds && earlier.from > end+slack && a.from > earlier.to { // another end, before that one
		return earlier.to - a.from, false
	}
	return 0, false
}

// merge adds what another key's history, or the sharp one of the same key, says.
func (r *resetFindings) merge(more *resetFindings) {
	r.answers += more.answers
	for m := range more.misfits {
		r.misfits[m] += more.misfits[m]
		r.by[m] = max(r.by[m], more.by[m])
		r.lies[m] = appendSome(r.lies[m], more.lies[m]...)
	}
}

// sharpen takes, for each meaning, the history that contradicts it more often.
func (r *resetFindings) sharpen(sharp *resetFindings) {
	for m, n := range sharp.misfits {
		if n > r.misfits[m] {
			r.misfits[m], r.by[m], r.lies[m] = n, sharp.by[m], sharp.lies[m]
		}
	}
}

// report lists the meanings that fit, and otherwise the contradictions to the
// nearest.
func (r *resetFindings) report() (Reset, int64, []Contradiction) {
	out, nearest := Reset{Header: r.header, Answers: r.answers, Fits: []string{}}, 0
	for m, n := range r.misfits[:r.among] {
		if n == 0 {
			out.Fits = append(out.Fits, meanings[m].words)
		}
		if r.by[m] < r.by[nearest] {
			nearest = m
		}
	}
	if len(out.Fits) > 0 || r.answers == 0 {
		return out, 0, nil
	}
	return out, r.misfits[nearest], r.lies[nearest]
}
