package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/record"
)

// A small history has whole seconds for times, whole tokens for levels and a rate
// of whole tokens a second, so that every way it can have happened can be tried.
type small struct {
	limit   limit.Limit
	fresh   bool
	records []record.Record
}

func newSmall(rng *rand.Rand, most int) *small {
	s := &small{limit: limit.Limit{Capacity: 1 + rng.Int64N(3), Rate: limit.Rate{Tokens: rng.Int64N(3), Seconds: 1}}, fresh: rng.IntN(2) == 0}
	weighted := rng.IntN(3) == 0
	for range 1 + rng.IntN(most) {
		sent := rng.Int64N(6)
		r := record.Record{Cost: 1, Sent: sent * 1e9, Done: (sent + rng.Int64N(4)) * 1e9, Quota: record.NoQuota}
		r.Outcome = []record.Outcome{record.Admitted, record.Admitted, record.Admitted, record.Throttled, record.Throttled, record.Failed}[rng.IntN(6)]
		if weighted {
			r.Cost = rng.Int64N(4)
		}
		if r.Outcome == record.Throttled && rng.IntN(2) == 0 {
			r.Quota.RetryAfter = float64(rng.IntN(3))
		}
		s.records = append(s.records, r)
	}
	return s
}

func (s *small) options() Options {
	return Options{Limit: s.limit, Fresh: s.fresh, Tick: -1, Drift: -1}
}

func (s *small) verdict(t testing.TB) *Verdict {
	t.Helper()
	j, err := New(s.options())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(s.records); err != nil {
		t.Fatal(err)
	}
	return j.Verdict()
}

// explained tries every way in which a correct bucket can have decided: every
// starting level, every order, every half second for every decision, failed
// requests charged or not, at any time from their start on. Half seconds are enough
// at rates of 0, 1 and 2 a second: multiplied by the rate, all constraints are
// differences of whole numbers, and a throttled request is best off right after a
// charge. Promises are not looked at.
func (s *small) explained(only func(*record.Record) bool) bool {
	var records []record.Record
	first := int64(math.MaxInt64)
	for _, r := range s.records {
		first = min(first, r.Sent/1e9)
		if only(&r) {
			records = append(records, r)
		}
	}
	from, full := int64(0), 2*s.limit.Capacity // half tokens
	if s.fresh {
		from = full
	}
	for level := from; level <= full; level++ {
		if s.explain(records, 2*first, level) {
			return true
		}
	}
	return false
}

// explain goes on from a level at an instant, in half tokens and half seconds, with
// the records that are left.
func (s *small) explain(left []record.Record, now, level int64) bool {
	if len(left) == 0 {
		return true
	}
	for i := range left {
		r := left[i]
		rest := slices.Delete(slices.Clone(left), i, i+1)
		last := r.Done / 5e8
		if r.Outcome == record.Failed {
			last = 18 // after all others
			if s.explain(rest, now, level) {
				return true // never charged
			}
		}
		for at := max(now, r.Sent/5e8); at <= last; at++ {
			there := min(level+(at-now)*s.limit.Rate.Tokens, 2*s.limit.Capacity)
			enough := there >= 2*r.Cost
			if r.Outcome == record.Throttled && !enough && s.explain(rest, at, there) {
				return true
			}
			if r.Outcome != record.Throttled && enough && s.explain(rest, at, there-2*r.Cost) {
				return true
			}
		}
	}
	return false
}

func anyRecord(*record.Record) bool  { return true }
func admitted(r *record.Record) bool { return r.Outcome == record.Admitted }

// What can be explained is never accused; and what the judge misses of small
// histories is told.
func TestBruteForceNeverContradictsAnAccusation(t *testing.T) {
	t.Parallel()
	histories := 8000
	if testing.Short() {
		histories = 3000
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var possible, accused, over, found, missed int
	for n := range histories {
		s := newSmall(rng, 5)
		v := s.verdict(t)
		if s.explained(anyRecord) {
			possible++
			if v.OverAdmission.Verdict == Broken || v.Throttling.Count > 0 {
				t.Fatalf("history %d can be explained and was accused: %s\n%+v", n, v.Sentence, s)
			}
			continue
		}
		if v.OverAdmission.Verdict == Broken || v.Throttling.Count > 0 {
			accused++
		} else {
			missed++
		}
		if !s.explained(admitted) {
			over++
			if v.OverAdmission.Verdict == Broken {
				found++
			} else if oneCost(s.records) {
				t.Fatalf("history %d: no decisions fit the admitted requests, and all cost the same, but: %s\n%+v", n, v.Sentence, s)
			}
		}
	}
	t.Logf("%d histories: %d possible, none accused; %d impossible: %d accused, %d missed; %d with over-admission: %d found",
		histories, possible, accused+missed, accused, missed, over, found)
	if possible < histories/10 || accused < histories/10 {
		t.Error("the histories are too tame to prove anything")
	}
}

func oneCost(records []record.Record) bool {
	cost := int64(-1)
	for _, r := range records {
		if admitted(&r) && cost >= 0 && r.Cost != cost {
			return false
		}
		if admitted(&r) {
			cost = r.Cost
		}
	}
	return true
}

// plainly computes, from the definitions and with no cleverness, what the fast
// code computes.
type plainly struct {
	small
	unit int64
}

// overAdmission is the excess of the fullest window, in units.
func (p *plainly) overAdmission() (excess int64, any bool) {
	excess = math.MinInt64
	for _, x := range p.records {
		if over := (x.Cost - p.limit.Capacity) * p.unit; admitted(&x) && over > 0 {
			excess = max(excess, over) // more at one instant than there ever is
		}
		for _, y := range p.records {
			tokens := int64(0)
			some := false
			for _, r := range p.records {
				if admitted(&r) && r.Cost > 0 && r.Sent >= x.Sent && r.Done <= y.Done {
					tokens += r.Cost
					some = true
				}
			}
			if some {
				any = true
				excess = max(excess, (tokens-p.limit.Capacity)*p.unit-p.limit.Rate.Tokens*(y.Done-x.Sent))
			}
		}
	}
	return excess, any
}

// least is the minimum over [sent, done] of record i of base − pending, each
// evaluated from the beginning at every start within. Records that are sent at the
// same instant come in their order.
func (p *plainly) least(i int, floor int64) int64 {
	least := int64(math.MaxInt64)
	for k := i; k < len(p.records); k++ {
		if p.records[k].Sent <= p.records[i].Done {
			least = min(least, p.lower(k, floor))
		}
	}
	return least
}

func (p *plainly) lower(k int, floor int64) int64 {
	at := p.records[k].Sent
	full := p.limit.Capacity * p.unit
	var ends []record.Record
	first := int64(math.MaxInt64)
	pending := int64(0)
	for i, r := range p.records {
		first = min(first, r.Sent)
		switch {
		case r.Outcome == record.Throttled:
		case r.Outcome == record.Admitted && r.Done <= at && i < k:
			ends = append(ends, r)
		case i <= k:
			pending += r.Cost * p.unit
		}
	}
	slices.SortFunc(ends, func(a, b record.Record) int { return int(a.Done - b.Done) })
	base, now := int64(0), first
	if p.fresh {
		base = full
	}
	for _, r := range ends {
		base = min(base+(r.Done-now)*p.limit.Rate.Tokens, full)
		base, now = max(base-r.Cost*p.unit, floor), r.Done
	}
	return min(base+(at-now)*p.limit.Rate.Tokens, full) - pending
}

// upper is the highest level that record i can have met: the minimum over every
// u of the bound by what was surely charged since, at its done.
func (p *plainly) upper(i int) int64 {
	me := &p.records[i]
	highest := p.limit.Capacity * p.unit
	for _, u := range p.records {
		if u.Sent > me.Sent {
			continue
		}
		charged := int64(0)
		for _, r := range p.records {
			if admitted(&r) && r.Sent >= u.Sent && r.Done < me.Sent {
				charged += r.Cost * p.unit
			}
		}
		highest = min(highest, p.limit.Capacity*p.unit+(me.Done-u.Sent)*p.limit.Rate.Tokens-charged)
	}
	return highest
}

// inVain says whether record k waited as some throttled answer told and was
// throttled again, alone.
func (p *plainly) inVain(k int) bool {
	me, highest := &p.records[k], int64(0)
	for _, r := range p.records {
		if r.Outcome == record.Throttled {
			highest = max(highest, r.Cost)
		}
	}
	if me.Outcome != record.Throttled || me.Cost > p.limit.Capacity {
		return false
	}
	for _, j := range p.records {
		if j.Outcome != record.Throttled || j.Cost < highest || math.IsNaN(j.Quota.RetryAfter) || j.Done+int64(j.Quota.RetryAfter*1e9) >= me.Sent {
			continue
		}
		alone := true
		for _, m := range p.records {
			took := m.Cost > 0 && m.Sent <= me.Done && (m.Outcome == record.Failed || admitted(&m) && m.Done >= j.Sent)
			alone = alone && !took
		}
		if alone {
			return true
		}
	}
	return false
}

// The fast code and the definitions agree on every history.
func TestFastAgreesWithDefinitions(t *testing.T) {
	t.Parallel()
	histories := 4000
	if testing.Short() {
		histories = 2000
	}
	rng := rand.New(rand.NewPCG(5, 6))
	seen := map[string]int{}
	for n := range histories {
		p := &plainly{small: *newSmall(rng, 40), unit: 1e9}
		slices.SortStableFunc(p.records, func(a, b record.Record) int { return int(a.Sent - b.Sent) })
		agree(t, n, p, seen)
	}
	t.Logf("%v", seen)
	for _, what := range []string{"over", "wrong", "vain", "early"} {
		if seen[what] == 0 {
			t.Errorf("no history had anything to find of %q", what)
		}
	}
}

func agree(t *testing.T, n int, p *plainly, seen map[string]int) {
	t.Helper()
	j, err := New(p.options())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(p.records); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(j)
	rows := make([]int32, len(p.records))
	for i := range rows {
		rows[i] = int32(i)
	}
	h, err := tr.interval(rows)
	if err != nil {
		t.Fatal(err)
	}
	byDone := h.sortByDone(&tr.scratch)
	over := tr.overAdmission(h, byDone)
	excess, any := p.overAdmission()
	if any != (over != nil) || any && over.excess != excess {
		t.Fatalf("history %d: fullest window %+v, want excess %d\n%+v", n, over, excess, p)
	}
	broken, floor := any && excess > 0, int64(0)
	if broken {
		floor = math.MinInt64 / 2
		seen["over"]++
	}
	lv := tr.levels(h, byDone, broken)
	wrong, vain := int64(0), int64(0)
	for i, r := range p.records {
		if r.Outcome == record.Failed {
			continue
		}
		least := p.least(i, floor)
		if got := lv.least(i); got != least {
			t.Fatalf("history %d: least level of record %d = %d, want %d\n%+v", n, i, got, least, p)
		}
		// The fast bound may be above the definition, never below: it looks at
		// fewer windows.
		if got, want := lv.most(i), p.upper(i); got < min(max(want, 0), p.limit.Capacity*p.unit) {
			t.Fatalf("history %d: most level of record %d = %d, below %d\n%+v", n, i, got, want, p)
		}
		if r.Outcome == record.Throttled && least >= r.Cost*p.unit {
			wrong++
		}
		if p.inVain(i) {
			vain++
		}
	}
	v := p.verdict(t)
	if v.Throttling.Count != wrong || v.RetryAfter.InVain != vain {
		t.Fatalf("history %d: %d wrong and %d in vain, want %d and %d\n%+v", n, v.Throttling.Count, v.RetryAfter.InVain, wrong, vain, p)
	}
	seen["wrong"] += int(wrong)
	seen["vain"] += int(vain)
	seen["early"] += int(v.RetryAfter.TooEarly)
}

// A planted request is found whenever the definition says that it can be, and
// by decision times whenever it is there at all.
func TestPlantedAdmitIsFound(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	findable, planted, packed := 0, 0, 0
	for range 1000 {
		l := limit.Limit{Capacity: 1 + rng.Int64N(5), Rate: limit.Rate{Tokens: 1 + rng.Int64N(4), Seconds: 1 + rng.Int64N(3)}}
		var records []record.Record
		var throttled []int
		state := limit.State{}
		for at, i := int64(1e15), 0; i < 60; i++ {
			at += rng.Int64N(600_000)
			d, next := l.Take(state, at, 1)
			state = next
			r := record.Record{
				Cost: 1, Sent: at*1000 - rng.Int64N(300e6), Done: at*1000 + rng.Int64N(300e6),
				Outcome: record.Throttled, Quota: record.NoQuota,
			}
			r.Quota.DecidedAt = d.DecidedAt
			if d.Allowed {
				r.Outcome = record.Admitted
			} else {
				throttled = append(throttled, i)
			}
			records = append(records, r)
		}
		if len(throttled) == 0 {
			continue
		}
		records[throttled[rng.IntN(len(throttled))]].Outcome = record.Admitted
		planted++
		p := &plainly{small: small{limit: l, fresh: true, records: records}, unit: 1e9 * l.Rate.Seconds}
		if v := p.verdict(t); v.OverAdmission.Verdict != Broken || v.Mode != Sharp {
			t.Fatalf("an extra admit was not found by decision times: %s", v.Sentence)
		}
		for i := range records {
			records[i].Quota.DecidedAt = 0
		}
		excess, _ := p.overAdmission()
		if excess > 0 {
			findable++
		}
		v := p.verdict(t)
		if excess > 0 && v.OverAdmission.Verdict != Broken {
			t.Fatalf("excess is %d units, the verdict: %s", excess, v.Sentence)
		}
		if excess <= 0 && v.OverAdmission.Verdict == Broken {
			packed++
		}
	}
	t.Logf("%d planted, all found by decision times; %d findable from intervals, all found, and %d more by packing", planted, findable, packed)
	if findable == 0 || findable == planted {
		t.Errorf("%d of %d findable: the histories prove nothing", findable, planted)
	}
}

// A sharp verdict is the replay of the pure step: neither is stricter.
func TestSharpIsReplay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 10))
	wrong := 0
	for range 4000 {
		l := limit.Limit{Capacity: 1 + rng.Int64N(4), Rate: limit.Rate{Tokens: 1 + rng.Int64N(3), Seconds: 1 + rng.Int64N(2)}}
		var records []record.Record
		at, state, holds := int64(1e15), limit.State{}, true
		for range 30 {
			at += rng.Int64N(3) * rng.Int64N(700_000)
			d, next := l.Take(state, at, 1)
			said := d.Allowed != (rng.IntN(40) == 0) // the limiter errs now and then
			if said != d.Allowed {
				holds = false
				break
			}
			state = next
			records = append(records, decided(at, said))
		}
		if !holds { // the last decision is the wrong one
			d, _ := l.Take(state, at, 1)
			records = append(records, decided(at, !d.Allowed))
			wrong++
		}
		s := &small{limit: l, fresh: true, records: records}
		v := s.verdict(t)
		accused := v.OverAdmission.Verdict == Broken || v.Throttling.Count > 0
		if !holds && !accused && tied(records) {
			continue // at the very same instant the order may have been another
		}
		if accused == holds {
			t.Fatalf("replay holds: %v, but: %s\n%v %+v", holds, v.Sentence, l, records)
		}
	}
	t.Logf("%d wrong decisions", wrong)
}

// tied says that the last two decisions were made in the same microsecond.
func tied(records []record.Record) bool {
	n := len(records)
	return n > 1 && records[n-1].Quota.DecidedAt == records[n-2].Quota.DecidedAt
}

func decided(at int64, allowed bool) record.Record {
	r := record.Record{Cost: 1, Sent: at*1000 - int64(time.Second), Done: at*1000 + int64(time.Second), Outcome: record.Throttled, Quota: record.NoQuota}
	if allowed {
		r.Outcome = record.Admitted
	}
	r.Quota.DecidedAt = at
	return r
}
