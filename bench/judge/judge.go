// Package judge says whether a limit held, from records alone, and proves it.
//
// A record says that a request was sent at s, that its answer was whole at e, what
// it cost, and whether it was admitted, throttled or failed. The limiter decided
// at an instant p that nobody outside knows, only that s ≤ p ≤ e. The judge
// accuses a limiter only of what no placement of these instants can explain, so
// it never accuses a correct one, however slow, reordered or lossy the network.
//
// # The model
//
// The promise is a token bucket for each key: it holds at most B tokens
// (capacity), gains r a second (rate), a request of cost c is admitted if and only
// if c tokens are there, and takes them. Two facts about it carry everything:
//
//	(1) tokens admitted in [x, y]  ≤  B + r·(y − x)     for every x ≤ y
//	(2) the level L never leaves [0, B]
//
// # Over-admission (admission.go)
//
// A request with x ≤ s and e ≤ y was decided inside [x, y] wherever its p lies.
// By (1) the cost of the admitted ones among these is at most B + r·(y − x). The
// judge takes the worst window over all x that are some s and all y that are some
// e (others are worse for the accuser), in O(n log n). Failed requests may have
// been charged or not; they are not counted.
//
// That test is necessary, not sufficient: it equals the question whether the admitted
// requests, as jobs on one machine that works r tokens a second, each between s and
// e + B/r, can be scheduled if they may be interrupted. The limit asks the same of
// jobs that may not (packing.go has the proof), and the two differ by less than one
// request. Where the first comes that near, and all requests cost the same, the
// second is decided exactly, for keys of up to some ten thousand admitted requests.
// What is left unseen is less than one request, in longer histories or with unequal
// costs, and nothing in sharp mode.
//
// # Levels (level.go)
//
// Throttling, Retry-After and Remaining are about the level at one instant. Two
// processes bracket it; both proofs are in level.go. The lower one charges every
// request as late as it can have been charged (which is what hurts most: a charge
// in the past may have been refilled since), the upper one as early as it can.
// A throttled request is wrong if even the lower level is at least its cost at
// every instant of [s, e].
//
// # Sharp mode (sharp.go)
//
// Where answers carry the limiter's own decision time, every interval collapses
// to a point in the limiter's clock. The same code then is an exact replay; what is
// left to miss is the order within a microsecond, and what the level at the start or
// a failed request leaves open. Interval mode is judged all the same: a limiter
// whose clock runs wild is only caught by ours.
//
// # What the judge allows for
//
// All of it widens intervals, and widening is always sound:
//
//   - Granularity: recorded instants are rounded, down or to the nearest.
//   - Tick: the limiter's clock may stand still for so long (1 ms unless said), as
//     a limiter that counts milliseconds is a correct one.
//   - Drift: the limiter's second and ours may differ by so much (200 ppm unless said).
//
// All arithmetic is on integers. A level is counted in units of which one token
// is Rate.Seconds × 10⁹ and one nanosecond brings Rate.Tokens; where that would
// pass 2⁶¹ the judge counts in µs, ms or s instead, rounding starts down and ends
// up, which again only widens.
//
// # What holds means
//
// "holds" is said only of a load that could have shown the opposite: something
// was throttled, and the fullest window came near the bound. A plan that stays
// below the limit on purpose, offered in full and never throttled, holds too, and
// its sentence says that it holds below the limit. All else that is not broken is
// inconclusive.
package judge

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"weir/api/limit"
	"weir/bench/record"
	"weir/bench/run"
)

// Defaults of [Options].
const (
	DefaultTick  = time.Millisecond
	DefaultDrift = 200 // ppm: two crystals at their usual ±100
)

// Options say what is judged and what is known about it.
type Options struct {
	Limit limit.Limit // the promise to each key
	Plan  string      // name of the plan, for the verdict

	// Fresh says that every key's bucket was full before its first record.
	// Otherwise it held anything from nothing to capacity.
	Fresh bool
	// Incomplete says that requests may be missing from the records: a damaged
	// segment, a run cut off. Then nothing is proved that a missing request could
	// explain; over-admission still is.
	Incomplete bool
	// Granularity of the recorded instants, which were rounded down to it or to
	// the nearest; 0 when they are exact.
	Granularity time.Duration
	// Tick is how long the limiter's clock may stand still; 0 means
	// DefaultTick, negative means not at all.
	Tick time.Duration
	// Drift is by how many parts in a million the limiter's second may differ
	// from ours; 0 means DefaultDrift, negative means not at all.
	Drift int64

	// Counts is what the generator said of itself; nil when it is not known.
	Counts *run.Counts
	// Planned says that the load is one that a plan asked for, so that staying
	// below the limit was the intention.
	Planned bool
}

// What the judge takes for sane: within it nothing overflows.
const (
	mostBlur  = time.Hour
	mostDrift = 100_000
	mostCost  = 1 << 40
	mostTime  = 1 << 61 // ns
)

func (o *Options) tick() int64 {
	switch {
	case o.Tick < 0:
		return 0
	case o.Tick == 0:
		return int64(DefaultTick)
	}
	return int64(o.Tick)
}

func (o *Options) drift() int64 {
	switch {
	case o.Drift < 0:
		return 0
	case o.Drift == 0:
		return DefaultDrift
	}
	return o.Drift
}

// A Judge collects records and then judges them. It keeps about 30 bytes a
// record, 50 where answers carry quota headers, 66 where those tell resets. It is for one goroutine.
type Judge struct {
	opt     Options
	cols    columns
	headers headerNotes
	lag     lagNotes
}

// New returns a judge of one plan. The limit must be valid.
func New(opt Options) (*Judge, error) {
	if err := opt.Limit.Validate(); err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	if opt.Granularity < 0 || opt.Granularity > mostBlur || opt.Tick > mostBlur {
		return nil, fmt.Errorf("judge: granularity %v and tick %v: want at most %v", opt.Granularity, opt.Tick, mostBlur)
	}
	if opt.Drift > mostDrift {
		return nil, fmt.Errorf("judge: drift %d: want at most %d parts in a million", opt.Drift, mostDrift)
	}
	return &Judge{opt: opt, cols: newColumns(), headers: headerNotes{limit: opt.Limit}}, nil
}

// Add takes records in any order; it keeps nothing of the batch.
func (j *Judge) Add(batch []record.Record) error {
	for i := range batch {
		r := &batch[i]
		if r.Cost < 0 || r.Cost > mostCost {
			return fmt.Errorf("judge: record %d of plan %q has cost %d (want 0 to %d)", r.Seq, r.Plan, r.Cost, int64(mostCost))
		}
		if min(r.Sent, r.Done) < -mostTime || max(r.Sent, r.Done) > mostTime {
			return fmt.Errorf("judge: record %d of plan %q was sent at %d ns and done at %d ns: not within 73 years of 1970", r.Seq, r.Plan, r.Sent, r.Done)
		}
		if len(j.cols.sent) == math.MaxInt32 {
			return fmt.Errorf("judge: more than %d records in plan %q", math.MaxInt32, j.opt.Plan)
		}
		j.cols.add(r)
		j.lag.add(r)
		if r.Outcome != record.Failed {
			j.headers.add(r)
		}
	}
	return nil
}

// Records judges the records of a reader that keep says to keep, which may change
// them first; a nil keep keeps all. What is left out, or could not be read, is taken
// to be missing.
func Records(r *record.Reader, opt Options, keep func(*record.Record) bool) (*Verdict, error) {
	j, err := New(opt)
	if err != nil {
		return nil, err
	}
	for batch := range r.Batches() {
		if keep != nil {
			kept := batch[:0]
			for i := range batch {
				if keep(&batch[i]) {
					kept = append(kept, batch[i])
				}
			}
			j.opt.Incomplete = j.opt.Incomplete || len(kept) < len(batch)
			batch = kept
		}
		if err := j.Add(batch); err != nil {
			return nil, err
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	j.opt.Incomplete = j.opt.Incomplete || len(r.Damaged()) > 0
	j.opt.Granularity = max(j.opt.Granularity, r.Granularity())
	return j.Verdict(), nil
}

// OptionsOf are the options under which an attack of a run is judged. Its plan
// must promise a limit.
func OptionsOf(a *run.Attack) Options {
	opt := Options{
		Limit: *a.Plan.Limit, Plan: a.Plan.Name, Fresh: a.Plan.Fresh, Granularity: a.Granularity,
		Planned: a.Engine != "import", Incomplete: a.Ended.IsZero(),
	}
	if a.Counts != (run.Counts{}) && a.Engine != "import" {
		opt.Counts = &a.Counts
	}
	return opt
}

// Verdict judges what was added. The result shares nothing with the judge.
func (j *Judge) Verdict() *Verdict {
	started := time.Now()
	if c := j.opt.Counts; c != nil && c.Sent > j.lag.sent {
		j.opt.Incomplete = true
	}
	if j.lag.sent > 1<<20 {
		runtime.GC() // what the columns outgrew makes room for the scratch memory
	}
	t := newTrial(j)
	for key, rows := range j.cols.byKey(&t.scratch) {
		t.judge(key, rows)
	}
	v := t.verdict(&j.lag)
	v.Elapsed = time.Since(started)
	return v
}
