package live

import (
	"fmt"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

const (
	judgeEvery   = 2 * time.Second
	judgeRecords = 50_000 // the most that the running verdict rests on: about 20 ms of judging
	judgeSpan    = 30 * time.Second
)

// A Verdict is what the judge says, while the attack runs or of all of it.
type Verdict struct {
	Verdict  string `json:"verdict"` // of package judge, or "so far" while nothing is proved against the limit
	Sentence string `json:"sentence"`
	Final    bool   `json:"final"` // of all records, after the attack
	Limit    string `json:"limit"`

	// The fullest window: Tokens were admitted within Seconds where Bound are
	// allowed. Margin is Bound − Tokens: below 0 is proof that the limit is broken.
	Key     string  `json:"key"`
	Tokens  int64   `json:"tokens"`
	Bound   float64 `json:"bound"`
	Seconds float64 `json:"seconds"`
	Margin  float64 `json:"margin"`
	// Percent is how much of the bound the fullest window took.
	Percent float64 `json:"percent"`
	// Records are how many the verdict rests on.
	Records int64 `json:"records"`

	Evidence []judge.Line `json:"evidence"`
}

// soFar is the running verdict of an attack that nothing is proved against.
const soFar = "so far"

// A bench is where a running attack is judged.
type bench struct {
	limit  limit.Limit
	plan   string
	broken *Verdict // the first proof: it stays
	worst  *Verdict // the least margin so far
}

// judge judges the latest records.
func (b *bench) judge(records []record.Record) (*Verdict, error) {
	j, err := judge.New(judge.Options{Limit: b.limit, Plan: b.plan, Incomplete: true, Planned: true})
	if err == nil {
		err = j.Add(records)
	}
	if err != nil {
		return nil, err
	}
	found := newVerdict(j.Verdict(), false)
	if b.worst == nil || found.Percent > b.worst.Percent {
		b.worst = found
	}
	if b.broken == nil && found.Verdict == judge.Broken {
		b.broken = found
	}
	if b.broken != nil {
		return b.broken, nil
	}
	shown := *b.worst
	shown.Records, shown.Evidence = found.Records, found.Evidence
	return &shown, nil
}

func newVerdict(v *judge.Verdict, final bool) *Verdict {
	o := &v.OverAdmission
	found := &Verdict{
		Verdict: v.Verdict, Sentence: v.Sentence, Final: final, Limit: v.Limit, Key: o.Key,
		Tokens: o.Tokens, Bound: o.Bound, Margin: o.Bound - float64(o.Tokens), Records: v.Requests.Offered, Evidence: v.Evidence(),
	}
	if o.Window != nil {
		found.Seconds = o.Window.Seconds
	}
	if o.Bound > 0 {
		found.Percent = 100 * float64(o.Tokens) / o.Bound
	}
	if !final && v.Verdict != judge.Broken {
		found.Verdict, found.Sentence = soFar, "nothing is proved against the limit so far"
	}
	return found
}

// judgeAll judges an attack that has ended by all its records, and keeps the
// verdict in the run's folder.
func judgeAll(folder *run.Folder, a *run.Attack) (*Verdict, error) {
	records, err := folder.OpenRecords(a.Plan.Name)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	defer records.Close() // they were only read
	v, err := judge.Records(records, judge.OptionsOf(a), nil)
	if err == nil {
		err = judge.Write(folder, []*judge.Verdict{v})
	}
	if err != nil {
		return nil, err
	}
	return newVerdict(v, true), nil
}

// planned are the two columns of what is offered: NaN where the shape has none.
func planned(p *plan.Plan, rate float64, users int) (float64, float64) {
	if p.Shape.Closed() {
		return nan, float64(max(users, 1))
	}
	return rate, nan
}
