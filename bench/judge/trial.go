package judge

import "weir/bench/record"

// A trial is the judging of all keys, one after the other. It owns the scratch
// memory that they share, and the evidence as it grows.
type trial struct {
	opt     *Options
	cols    *columns
	notes   *headerNotes
	scratch scratch
	fair    fairness

	offered  Requests
	keys     int64
	sharp    int64 // keys judged in sharp mode too
	demanded bool  // some key was asked for more than its limit allows
	tooLarge error // why a key could not be judged; nil when all were

	packed int // steps that packing took

	worst     *window // of all keys; nil when nothing was admitted
	worstKey  string
	keysOver  int64 // keys with over-admission
	throttles Throttling
	retry     retryFindings
	headers   Headers
	resets    []*resetFindings
}

func newTrial(j *Judge) *trial { return &trial{opt: &j.opt, cols: &j.cols, notes: &j.headers} }

// judge judges one key. Rows are its records in the order in which they were sent.
func (t *trial) judge(id int32, rows []int32) {
	name := t.cols.names[id]
	t.keys++
	h, err := t.interval(rows)
	t.fair.add(h)
	t.count(h)
	if err != nil {
		t.tooLarge = err
		return
	}
	t.demanded = t.demanded || h.demand() > h.scale.full
	found := t.inspect(name, h)
	if sharp, ok := t.sharpen(rows, found); ok {
		t.sharp++
		found.add(t.inspect(name, sharp))
	}
	t.collect(found)
}

// inspect runs every check on one history of a key.
func (t *trial) inspect(key string, h *history) *findings {
	f := &findings{key: key}
	byDone := h.sortByDone(&t.scratch)
	if f.over = t.overAdmission(h, byDone); f.over != nil && !h.sharp {
		if w := t.packing(h, byDone, f.over); w != nil {
			f.over = w
		}
	}
	broken := f.over != nil && f.over.excess > 0
	lv := t.levels(h, byDone, broken)
	left, resets := t.remainders(), t.resetWatches(f, h)
	for i := range h.start {
		outcome := h.outcome(i)
		if outcome == record.Failed || outcome == record.Admitted && len(left) == 0 && len(resets) == 0 {
			continue
		}
		least, most := lv.least(i), lv.most(i)
		for k := range left {
			left[k].check(f, h, byDone, i, least, most)
		}
		if len(resets) > 0 {
			t.checkResets(resets, key, i, least, most, broken)
		}
		if outcome == record.Throttled {
			f.promise(h, i, least, most)
			if !t.opt.Incomplete {
				f.throttling(h, i, least)
			}
		}
	}
	if !t.opt.Incomplete {
		t.retries(f, h)
	}
	return f
}

// checkResets brings the levels to after request i, as resets are told.
func (t *trial) checkResets(watches []*resetWatch, key string, i int, least, most int64, broken bool) {
	h := watches[0].h
	if t.opt.Incomplete { // missing ones may have been charged
		least = 0
	}
	if !broken {
		least = max(least, 0)
	}
	if h.tookTokens(i) {
		most -= h.cost[i] * h.scale.unit
	}
	for _, w := range watches {
		w.check(key, i, least, most)
	}
}

// demand is the most that the requests of a key would have filled a bucket with,
// had each been decided when it was sent and all been admitted.
func (h *history) demand() int64 {
	level, most, at := int64(0), int64(0), int64(0)
	for i, start := range h.start {
		now := h.scale.slowDown(start)
		level = max(level-(now-at)*h.scale.rate, 0) + h.cost[i]*h.scale.unit
		most, at = max(most, level), now
	}
	return most
}

func (t *trial) count(h *history) {
	for i := range h.start {
		switch h.outcome(i) {
		case record.Admitted:
			t.offered.Admitted++
		case record.Throttled:
			t.offered.Throttled++
		case record.Failed:
			t.offered.Failed++
		}
	}
	t.offered.Offered += int64(len(h.start))
}

// findings are what one key's histories prove.
type findings struct {
	key       string
	over      *window
	throttled []WrongThrottle // a few of them
	wrong     int64           // all of them
	retry     retryFindings
	lies      []Contradiction // a few of them
	lied      int64           // all of them
	resets    []*resetFindings
}

// add adds what the sharp history of the same key proves. Both histories accuse
// of the same requests, so counts are not added: the larger stands.
func (f *findings) add(sharp *findings) {
	if f.over == nil || sharp.over != nil && sharp.over.excessTokens() > f.over.excessTokens() {
		f.over = sharp.over
	}
	if sharp.wrong > f.wrong {
		f.wrong, f.throttled = sharp.wrong, sharp.throttled
	}
	if sharp.lied > f.lied {
		f.lied, f.lies = sharp.lied, sharp.lies
	}
	f.retry.sharpen(&sharp.retry)
	for k, r := range f.resets {
		r.sharpen(sharp.resets[k])
	}
}

// collect adds the findings of one key to the evidence.
func (t *trial) collect(f *findings) {
	if f.over != nil {
		if f.over.excess > 0 {
			t.keysOver++
		}
		if t.worst == nil || f.over.excessTokens() > t.worst.excessTokens() {
			t.worst, t.worstKey = f.over, f.key
		}
	}
	if f.wrong > 0 {
		t.throttles.Count += f.wrong
		t.throttles.Keys++
		t.throttles.Witnesses = appendSome(t.throttles.Witnesses, f.throttled...)
	}
	t.retry.merge(&f.retry)
	for k, r := range f.resets {
		if k == len(t.resets) {
			t.resets = append(t.resets, &resetFindings{header: r.header, among: r.among})
		}
		t.resets[k].merge(r)
	}
	t.headers.Count += f.lied
	t.headers.Contradictions = appendSome(t.headers.Contradictions, f.lies...)
}

// mostExamples is how many examples of one kind a verdict lists.
const mostExamples = 10

func appendSome[T any](list []T, items ...T) []T {
	room := max(mostExamples-len(list), 0)
	return append(list, items[:min(room, len(items))]...)
}
