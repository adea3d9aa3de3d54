package report

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stats"
)

// topKeys is how many rows the per-key table has before the rest is one row.
const topKeys = 20

// newPlan turns one attack and the summary of its records into numbers.
func newPlan(a *run.Attack, s *stats.Summary, verdict judge.Verdict) Plan {
	p := Plan{
		Name:     a.Plan.Name,
		Question: a.Plan.Question,
		Engine:   a.Engine,
		Load:     load(&a.Plan),
		Error:    a.Error,
		Elapsed:  s.Elapsed(),
		Verdict:  verdict,
		Sentence: sentence(verdict.Verdict, verdict.Sentence),
		Counts:   a.Counts,
		Redis:    a.Redis,
		Records:  s.Count(),
		SendLag:  quantiles(&s.SendLag),
		KeyCount: s.Keys.Len(),
		NoWait:   s.NoWait,
		Witness:  newWitness(&verdict, a.Plan.Limit),
		started:  s.Timeline.Origin,
	}
	if a.Plan.Limit != nil {
		p.Limit = a.Plan.Limit.String()
	}
	p.Gaps = Gaps{Variation: s.Gaps.Variation(), P50: s.Gaps.Quantile(0.5), P99: s.Gaps.Quantile(0.99), Max: s.Gaps.Quantile(1)}
	for _, o := range record.Outcomes {
		p.Outcomes = append(p.Outcomes, newOutcome(o, s))
	}
	for _, e := range s.Errors.List() {
		p.Errors = append(p.Errors, Error{e.Value, e.Count})
	}
	if s.Errors.Others > 0 {
		p.Errors = append(p.Errors, Error{stats.Rest, s.Errors.Others})
	}
	for _, w := range s.Waits.List() {
		p.Waits = append(p.Waits, Wait{w.Value, w.Count})
	}
	p.addKeys(s, a.Plan.Limit)
	p.addTargets(s, &a.Plan)
	p.addPerSecond(s, a)
	p.addCumulative(s, a.Plan.Limit)
	p.addLatency(s)
	p.addShares(s)
	p.addSamples(s)
	return p
}

// load describes the plan's load, e.g. "constant:500/s for 10 s, 1,000 keys (zipf)".
func load(p *plan.Plan) string {
	text := p.Shape.String()
	if p.Duration > 0 {
		text += " for " + duration(p.Duration)
	}
	if p.Keys.Count > 0 {
		text += ", " + plural(int64(p.Keys.Count), "key")
		if p.Keys.Spread != "" && p.Keys.Count > 1 {
			text += " (" + p.Keys.Spread + ")"
		}
	}
	return strings.TrimPrefix(text, ", ")
}

func newOutcome(o record.Outcome, s *stats.Summary) Outcome {
	numbers, rate := s.Outcome(o), s.Rate(o)
	out := Outcome{
		Name:    o.String(),
		Count:   numbers.Count,
		Rate:    Spread{rate.N, rate.Mean, rate.StdDev, rate.Min, rate.Median, rate.Max},
		Latency: quantiles(&numbers.Latency),
		Service: quantiles(&numbers.Service),
	}
	if total := s.Count(); total > 0 {
		out.Share = float64(numbers.Count) / float64(total)
	}
	out.HDR, _ = numbers.Latency.Encode() // a histogram in memory always encodes
	return out
}

func quantiles(h *stats.Histogram) Quantiles {
	return Quantiles{
		Count: h.Count(), Min: h.Min(), Mean: h.Mean(), Max: h.Max(),
		P50: h.Quantile(0.5), P90: h.Quantile(0.9), P95: h.Quantile(0.95), P99: h.Quantile(0.99), P999: h.Quantile(0.999),
	}
}

func (p *Plan) addKeys(s *stats.Summary, l *limit.Limit) {
	top, rest := s.Keys.Top(topKeys)
	for _, key := range top {
		p.Keys = append(p.Keys, newKey(key, l))
	}
	if rest.Requests > 0 {
		row := newKey(&rest, nil)
		row.Rest = true
		p.Keys = append(p.Keys, row)
	}
}

func newKey(k *stats.Key, l *limit.Limit) Key {
	row := Key{
		Name: k.Name, Requests: k.Requests, Tokens: k.Tokens,
		Admitted: k.Outcomes[record.Admitted], Throttled: k.Outcomes[record.Throttled], Failed: k.Outcomes[record.Failed],
	}
	if seconds := k.Elapsed().Seconds(); seconds > 0 {
		row.Rate = float64(k.Tokens) / seconds
	}
	if l != nil {
		row.Allowed = float64(l.Capacity) + l.Rate.PerSecond()*k.Elapsed().Seconds()
	}
	return row
}

func (p *Plan) addTargets(s *stats.Summary, planned *plan.Plan) {
	targets := s.Targets.List()
	short := shortNames(targets)
	byName := map[string]*stats.Target{}
	for _, t := range targets {
		byName[t.Name] = t
		p.Targets = append(p.Targets, Target{
			Name: short[t.Name], Service: quantiles(&t.Admitted),
			Admitted: t.Outcomes[record.Admitted], Throttled: t.Outcomes[record.Throttled], Failed: t.Outcomes[record.Failed],
		})
	}
	if len(planned.Targets) < 2 {
		return
	}
	// The plan's last target is the one the others are held against.
	last := planned.Targets[len(planned.Targets)-1]
	base := byName[last.Method+" "+last.URL]
	if base == nil || short[base.Name] == base.Name { // the same request to several hosts: not a comparison
		return
	}
	for _, t := range targets {
		if t == base || t.Name == stats.Rest {
			continue
		}
		for _, q := range []float64{0.5, 0.9, 0.99} {
			if d := t.Slower(base, q); d.Steps > 0 {
				p.Slower = append(p.Slower, Slower{short[t.Name], short[base.Name], q, d.Median, d.Low, d.High, d.Steps})
			}
		}
	}
}

// shortNames maps "GET http://127.0.0.1:8000/items" to "GET /items" where the
// targets differ without their hosts; ports change from run to run.
func shortNames(targets []*stats.Target) map[string]string {
	short, taken := map[string]string{}, map[string]bool{}
	for _, t := range targets {
		name := t.Name
		method, address, _ := strings.Cut(name, " ")
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			name = method + " " + u.RequestURI()
		}
		short[t.Name] = name
		taken[name] = true
	}
	if len(taken) == len(targets) {
		return short
	}
	for name := range short {
		short[name] = name
	}
	return short
}

func (p *Plan) addPerSecond(s *stats.Summary, a *run.Attack) {
	t := s.PerSecond()
	step := t.Step.Seconds()
	series := PerSecond{Step: step}
	wanted := plannedPerStep(a, t)
	for i := range t.Cells {
		cell := &t.Cells[i]
		series.At = append(series.At, float64(i)*step)
		planned := cell.Planned // of a recording: what is in it
		if wanted != nil {
			planned = wanted[i]
		}
		series.Planned = append(series.Planned, float64(planned)/step)
		series.Sent = append(series.Sent, float64(cell.Sent)/step)
		series.Admitted = append(series.Admitted, float64(cell.Outcomes[record.Admitted])/step)
		series.Throttled = append(series.Throttled, float64(cell.Outcomes[record.Throttled])/step)
		series.Failed = append(series.Failed, float64(cell.Outcomes[record.Failed])/step)
	}
	if l := a.Plan.Limit; l != nil {
		series.Limit = l.Rate.PerSecond() * float64(max(1, p.KeyCount))
	}
	p.PerSecond = series
}

// plannedPerStep is how many requests the plan wanted in each step, also those
// that were never sent and so are in no record; nil when there is no such plan.
func plannedPerStep(a *run.Attack, t *stats.Timeline[stats.Cell, *stats.Cell]) []int64 {
	if a.Engine != attackEngine || a.Plan.Shape.Closed() || a.Plan.Shape.Total(a.Plan.Duration) == 0 {
		return nil
	}
	wanted := make([]int64, len(t.Cells))
	left := a.Counts.Planned // fewer than the plan has when it was stopped early
	for at := range a.Plan.Shape.Arrivals(a.Plan.Seed, a.Plan.Duration) {
		i := int(at / t.Step)
		if left == 0 || i >= len(wanted) {
			break
		}
		wanted[i]++
		left--
	}
	return wanted
}

func (p *Plan) addCumulative(s *stats.Summary, l *limit.Limit) {
	busiest := s.Keys.Busiest()
	if busiest == nil {
		return
	}
	p.Admitted = newCumulative(busiest, s.Timeline.Origin, l)
	if p.KeyCount < 2 {
		return
	}
	sum := &Cumulative{Keys: p.KeyCount}
	total := 0.0
	for i := range s.Timeline.Cells {
		total += float64(s.Timeline.Cells[i].Tokens)
		sum.At = append(sum.At, s.Timeline.End(i))
		sum.Admitted = append(sum.Admitted, total)
	}
	if l != nil {
		sum.Allowed = s.Keys.Allowed(*l, s.Timeline.Step, len(s.Timeline.Cells))
	}
	p.Sum = sum
}

func newCumulative(key *stats.Key, origin int64, l *limit.Limit) *Cumulative {
	c := &Cumulative{Key: key.Name, Keys: 1}
	total, told := 0.0, false
	begin := max(float64(key.First-origin)/1e9, 0)
	for i := range key.Line.Cells {
		cell := &key.Line.Cells[i]
		total += float64(cell.Tokens)
		end := key.Line.End(i)
		c.At = append(c.At, end)
		c.Admitted = append(c.Admitted, total)
		if l != nil {
			c.Allowed = append(c.Allowed, allowed(l, end-begin))
		}
		if cell.Told == 0 {
			c.Remaining = append(c.Remaining, math.NaN())
			continue
		}
		told = true
		c.Remaining = append(c.Remaining, cell.Lowest)
	}
	if !told {
		c.Remaining = nil
	}
	return c
}

// allowed is what a limit lets one key have within seconds of its first
// request, nothing before it.
func allowed(l *limit.Limit, seconds float64) float64 {
	if seconds < 0 {
		return 0
	}
	return float64(l.Capacity) + l.Rate.PerSecond()*seconds
}

func (p *Plan) addLatency(s *stats.Summary) {
	t := s.Latencies
	p.Latency.Step = t.Step.Seconds()
	for i := range t.Cells {
		cell := &t.Cells[i]
		p.Latency.At = append(p.Latency.At, float64(i)*p.Latency.Step)
		p.Latency.Admitted.add(cell.Outcome(record.Admitted))
		p.Latency.Throttled.add(cell.Outcome(record.Throttled))
		p.Latency.Failed.add(cell.Outcome(record.Failed))
		p.Latency.SendLag.add(cell.SendLag())
	}
}

func (b *Band) add(h *stats.Histogram) {
	at := func(d time.Duration) float64 {
		if h.Count() == 0 {
			return math.NaN()
		}
		return float64(d)
	}
	b.P50 = append(b.P50, at(h.Quantile(0.5)))
	b.P95 = append(b.P95, at(h.Quantile(0.95)))
	b.P99 = append(b.P99, at(h.Quantile(0.99)))
	b.Max = append(b.Max, at(h.Max()))
}

// addShares reads each outcome's histogram at twenty points per factor of ten,
// as far as its number of requests can tell.
func (p *Plan) addShares(s *stats.Summary) {
	most := int64(0)
	for _, o := range record.Outcomes {
		most = max(most, s.Outcome(o).Count)
	}
	columns := map[record.Outcome]*Column{
		record.Admitted: &p.Shares.Admitted, record.Throttled: &p.Shares.Throttled, record.Failed: &p.Shares.Failed,
	}
	for i := 0; ; i++ {
		over := math.Pow(10, float64(i)/20)
		if over > float64(most) {
			return
		}
		p.Shares.Over = append(p.Shares.Over, over)
		for o, column := range columns {
			value := math.NaN()
			if h := &s.Outcome(o).Latency; over <= float64(h.Count()) {
				value = float64(h.Quantile(1 - 1/over))
			}
			*column = append(*column, value)
		}
	}
}

// addSamples keeps the quickest and the slowest request of each outcome in each
// step, in the order in which they were sent.
func (p *Plan) addSamples(s *stats.Summary) {
	for i := range s.Timeline.Cells {
		for _, o := range record.Outcomes {
			e := s.Timeline.Cells[i].Extremes[o]
			for _, point := range []stats.Point{e.Fastest, e.Slowest} {
				if point.Sent != 0 {
					p.samples = append(p.samples, sample{point.Sent, point.Latency, point.Status, o.String()})
				}
			}
		}
	}
}

// conclude sets the verdict on top: the worst of the plans' verdicts.
func (r *Report) conclude() {
	judged := map[string][]*Plan{}
	for i := range r.Plans {
		verdict := r.Plans[i].Verdict.Verdict
		judged[verdict] = append(judged[verdict], &r.Plans[i])
	}
	broken, unsure, holds := judged[judge.Broken], judged[judge.Inconclusive], judged[judge.Holds]
	all := plural(int64(len(broken)+len(unsure)+len(holds)), "judged plan")
	switch {
	case len(broken) > 0:
		r.Verdict = judge.Broken
		r.Sentence = fmt.Sprintf("The limit was broken in %d of %s. In %s: %s", len(broken), all, broken[0].Name, broken[0].Sentence)
	case len(unsure) > 0:
		r.Verdict = judge.Inconclusive
		r.Sentence = fmt.Sprintf("No fault was found, but %d of %s cannot tell. In %s: %s", len(unsure), all, unsure[0].Name, unsure[0].Sentence)
	case len(holds) > 0:
		r.Verdict = judge.Holds
		r.Sentence = fmt.Sprintf("The limit held in each of %s.", all)
		if len(holds) == 1 {
			r.Sentence = holds[0].Sentence
		}
		if n := len(judged[NotJudged]); n > 0 {
			r.Sentence += fmt.Sprintf(" Not judged: %s.", plural(int64(n), "plan"))
		}
	default:
		r.Verdict = NotJudged
		r.Sentence = "No verdict was recorded for this run: the numbers below describe the load, they do not prove that a limit held."
	}
}

// Build sums up a run, from its manifest, its records and what the judge said. A plan without a verdict is "not judged". A plan without
// records is in the report, and says so; a run without any is an error, ErrNoRecords.
func Build(ctx context.Context, folder *run.Folder, verdicts []judge.Verdict, bar *progress.Bar) (*Report, error) {
	m := folder.Manifest()
	r := &Report{Schema: Schema, Run: m, Name: folder.Name()}
	byPlan := map[string]judge.Verdict{}
	for _, v := range verdicts {
		byPlan[v.Plan] = v
	}
	read := int64(0)
	for i := range m.Attacks {
		a := &m.Attacks[i]
		s, damaged, err := summarize(ctx, folder, a, func(n int64) {
			bar.Set(read+n, a.Plan.Name)
		})
		if err != nil {
			return nil, fmt.Errorf("plan %q: %w", a.Plan.Name, err)
		}
		read += s.Count()
		verdict, judged := byPlan[a.Plan.Name]
		if !judged {
			verdict = judge.Verdict{Verdict: NotJudged, Plan: a.Plan.Name, Sentence: unjudged(a)}
		}
		p := newPlan(a, s, verdict)
		for _, d := range damaged {
			p.Damaged = append(p.Damaged, d.Error())
		}
		r.Plans = append(r.Plans, p)
	}
	if read == 0 {
		return nil, fmt.Errorf("report on %s: %w", folder.Path, ErrNoRecords)
	}
	r.conclude()
	return r, nil
}

// ErrNoRecords reports a run of which nothing was recorded.
var ErrNoRecords = errors.New("no request was recorded, so there is nothing to report (run `weir run` or `weir attack` again)")

// summarize reads a plan's records once, and tells how many it has read so far.
func summarize(ctx context.Context, folder *run.Folder, a *run.Attack, seen func(int64)) (*stats.Summary, []*record.DamagedError, error) {
	s := stats.New(a.Started.UnixNano())
	if segments, _ := filepath.Glob(filepath.Join(folder.AttackDir(a.Plan.Name), "*.parquet")); len(segments) == 0 {
		return s, nil, nil // the run ended before this plan's first record
	}
	reader, err := folder.OpenRecords(a.Plan.Name)
	if err != nil {
		return nil, nil, err
	}
	defer reader.Close()
	for batch := range reader.Batches() {
		if s.Count() == 0 {
			s = stats.New(origin(a, &batch[0]))
		}
		for i := range batch {
			s.Add(&batch[i])
		}
		seen(s.Count())
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
	}
	return s, reader.Damaged(), reader.Err()
}

// attackEngine is what package attack calls itself; its plans say when each
// request was wanted.
const attackEngine = "vegeta"

// origin is where a plan's time begins: when the attack started, or with its
// first record when the manifest does not say (imported records) or the two
// disagree by so much that they cannot speak of the same attack.
func origin(a *run.Attack, first *record.Record) int64 {
	started := a.Started.UnixNano()
	if a.Started.IsZero() || first.Sent < started-int64(time.Minute) || first.Sent > started+int64(24*time.Hour) {
		return min(first.Planned, first.Sent)
	}
	return started
}

// unjudged says why a plan has no verdict.
func unjudged(a *run.Attack) string {
	if a.Plan.Limit == nil {
		return "not judged: the plan promises no limit"
	}
	return "not judged: no verdict was recorded for this plan"
}
