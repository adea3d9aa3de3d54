package live

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/stats"
)

const (
	maxTargets  = 12 // rows of the table before the rest is one row
	maxGroups   = 12
	maxFailures = 64
	// rateSeconds are the whole seconds that a current rate is the mean of.
	rateSeconds = 2
)

// A meter turns the records of an attack into what the page shows. It is safe for
// concurrent use.
type meter struct {
	origin int64 // ns since the epoch

	mu       sync.Mutex
	history  *history
	total    *line
	targets  lines
	groups   lines
	failures map[failureKind]*Failure
	others   int64 // failures of kinds past the bound
	recent   []record.Record
	last     int64 // latest answer, ns since the epoch
}

func newMeter(origin int64, load func(time.Duration) (rate, users float64)) *meter {
	return &meter{
		origin: origin, history: newHistory(origin, load), total: &line{Name: "all"},
		targets: lines{most: maxTargets}, groups: lines{most: maxGroups}, failures: map[failureKind]*Failure{},
	}
}

// add counts records. It keeps copies of the latest for the judge.
func (m *meter) add(batch []record.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		m.history.add(r)
		m.total.add(r)
		m.targets.of(r.Target).add(r)
		if r.Key != "" {
			m.groups.of(group(r.Key)).add(r)
		}
		if r.Outcome == record.Failed {
			m.fail(r)
		}
		m.last = max(m.last, r.Done)
	}
	m.forget(len(batch))
	m.recent = append(m.recent, batch...)
}

// forget makes room for n records by dropping those that the judge will not look
// at any more, many at a time. The lock is held.
func (m *meter) forget(n int) {
	const few = 8192
	full := len(m.recent)+n > 2*judgeRecords
	if old := len(m.recent) > few && m.recent[0].Done < m.last-2*int64(judgeSpan); full || old {
		m.recent = m.recent[:copy(m.recent, m.recent[m.judged():])]
	}
}

// judged is where the records begin that the judge looks at. The lock is held.
func (m *meter) judged() int {
	from := max(0, len(m.recent)-judgeRecords)
	for from < len(m.recent) && m.recent[from].Done < m.last-int64(judgeSpan) {
		from++
	}
	return from
}

// A line is one row of the statistics table while it grows.
type line struct {
	Name     string
	outcomes [len(record.Outcomes)]int64
	bytes    int64
	latency  [len(record.Outcomes)]stats.Histogram
	seconds  [rateSeconds + 2]struct{ second, count int64 } // by the second of the answer
}

func (l *line) add(r *record.Record) {
	l.outcomes[r.Outcome]++
	l.bytes += r.Read
	l.latency[r.Outcome].Record(r.Latency())
	second := r.Done / int64(time.Second)
	s := &l.seconds[second%int64(len(l.seconds))]
	if s.second != second {
		s.second, s.count = second, 0
	}
	s.count++
}

// rate is the mean over the last whole seconds whose answers have been handed over.
func (l *line) rate(now int64) float64 {
	total := int64(0)
	last := now/int64(time.Second) - 1
	for _, s := range l.seconds {
		if s.second > last-rateSeconds && s.second <= last {
			total += s.count
		}
	}
	return float64(total) / rateSeconds
}

// lines are rows by name, in the order in which they were first seen, with one
// row for those past a bound.
type lines struct {
	most int
	list []*line
	last *line
}

func (l *lines) of(name string) *line {
	if l.last != nil && l.last.Name == name {
		return l.last
	}
	for _, known := range l.list {
		if known.Name == name {
			l.last = known
			return known
		}
	}
	if len(l.list) >= l.most {
		name = stats.Rest
		if rest := l.list[len(l.list)-1]; rest.Name == name {
			return rest
		}
	}
	l.last = &line{Name: strings.Clone(name)}
	l.list = append(l.list, l.last)
	return l.last
}

// group is the row a key counts in: keys that end in a number are one row per
// power of ten, "…-10 to 99", so that a few busy keys are told from many quiet
// ones; other keys are a row each.
func group(key string) string {
	digits := len(key)
	for digits > 0 && key[digits-1] >= '0' && key[digits-1] <= '9' {
		digits--
	}
	n, err := strconv.ParseUint(key[digits:], 10, 63)
	if err != nil || strings.Count(key, ".") == 3 { // an address is not counted through
		return key
	}
	if n == 0 {
		return key[:digits] + "0"
	}
	low := uint64(1)
	for low*10 <= n {
		low *= 10
	}
	return fmt.Sprintf("%s%d to %d", key[:digits], low, low*10-1)
}

type failureKind struct{ what, target string }

// A Failure is one way in which requests failed.
type Failure struct {
	What   string    `json:"what"`
	Target string    `json:"target"`
	Count  int64     `json:"count"`
	First  time.Time `json:"first"` // of the answers
	Last   time.Time `json:"last"`
}

func (m *meter) fail(r *record.Record) {
	kind := failureKind{stats.Reason(r), r.Target}
	f := m.failures[kind]
	at := time.Unix(0, r.Done).UTC()
	if f == nil {
		if len(m.failures) >= maxFailures {
			m.others++
			return
		}
		kind.target = strings.Clone(kind.target)
		f = &Failure{What: kind.what, Target: kind.target, First: at}
		m.failures[kind] = f
	}
	f.Count++
	f.Last = at
}

// Tables are the statistics so far.
type Tables struct {
	Total    Line      `json:"total"`
	Targets  []Line    `json:"targets"`
	Groups   []Line    `json:"groups"` // of keys
	Failures []Failure `json:"failures"`
	Others   int64     `json:"other_failures"` // of further kinds
}

// A Line is a row of the statistics table.
type Line struct {
	Name      string             `json:"name"`
	Requests  int64              `json:"requests"`
	Admitted  int64              `json:"admitted"`
	Throttled int64              `json:"throttled"`
	Failed    int64              `json:"failed"`
	Rate      float64            `json:"rate"` // requests a second, over the last two whole seconds
	Size      float64            `json:"size"` // mean of the answers' bodies, bytes
	Latency   map[string]Latency `json:"latency"`
}

// A Latency is that of one outcome, planned to done, in nanoseconds.
type Latency struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Mean  time.Duration `json:"mean_ns"`
	Min   time.Duration `json:"min_ns"`
	Max   time.Duration `json:"max_ns"`
}

func (l *line) shown(now int64) Line {
	shown := Line{
		Name: l.Name, Admitted: l.outcomes[record.Admitted], Throttled: l.outcomes[record.Throttled], Failed: l.outcomes[record.Failed],
		Rate: l.rate(now), Latency: map[string]Latency{},
	}
	shown.Requests = shown.Admitted + shown.Throttled + shown.Failed
	shown.Size = float64(l.bytes) / float64(max(shown.Requests, 1))
	for _, o := range record.Outcomes {
		if h := &l.latency[o]; h.Count() > 0 {
			shown.Latency[o.String()] = Latency{
				Count: h.Count(), P50: h.Quantile(0.5), P95: h.Quantile(0.95), P99: h.Quantile(0.99), P999: h.Quantile(0.999),
				Mean: h.Mean(), Min: h.Min(), Max: h.Max(),
			}
		}
	}
	return shown
}

// tables returns the statistics at an instant, in ns since the epoch.
func (m *meter) tables(now int64) Tables {
	m.mu.Lock()
	defer m.mu.Unlock()
	now -= int64(m.history.settle) // later answers have not been handed over yet
	t := Tables{Total: m.total.shown(now), Targets: []Line{}, Groups: []Line{}, Failures: []Failure{}, Others: m.others}
	for _, l := range m.targets.list {
		t.Targets = append(t.Targets, l.shown(now))
	}
	for _, l := range m.groups.list {
		t.Groups = append(t.Groups, l.shown(now))
	}
	for _, f := range m.failures {
		t.Failures = append(t.Failures, *f)
	}
	byName := func(a, b Line) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	}
	slices.SortFunc(t.Targets, byName)
	slices.SortFunc(t.Groups, byName)
	slices.SortFunc(t.Failures, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.What, b.What))
	})
	return t
}

// latest copies the records of the last judgeSpan, at most judgeRecords.
func (m *meter) latest() []record.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.recent[m.judged():])
}

// measure reads all records of a plan into a meter. Each row of the history is
// given to keep, which may be nil.
func measure(records *record.Reader, a *plan.Plan, origin int64, keep func(ring int, r row)) (*meter, error) {
	m := newMeter(origin, func(at time.Duration) (rate, users float64) {
		return planned(a, a.Shape.Rate(at, a.Duration), a.Shape.Users())
	})
	give := func() {
		for ring := range m.history.fresh {
			for _, r := range m.history.fresh[ring] {
				if keep != nil {
					keep(ring, r)
				}
			}
			m.history.fresh[ring] = m.history.fresh[ring][:0]
		}
	}
	for batch := range records.Batches() {
		m.add(batch)
		m.recent = m.recent[:0] // nobody judges here
		give()
	}
	m.history.finish()
	give()
	return m, records.Err()
}
