package stats_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/api/limit"
	"weir/bench/record"
	"weir/bench/stats"
	"weir/bench/stats/statstest"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
	origin = 1_700_000_000 * second
)

// request is a record sent at ns after the origin, as planned, and done later.
func request(sent, took int64, outcome record.Outcome) record.Record {
	return record.Record{
		Key: "a", Target: "GET http://h/items", Cost: 1, Outcome: outcome, Quota: record.NoQuota,
		Planned: origin + sent, Sent: origin + sent, Done: origin + sent + took,
	}
}

func summarize(records ...record.Record) *stats.Summary {
	s := stats.New(origin)
	for i := range records {
		s.Add(&records[i])
	}
	return s
}

func TestOutcomesAreKeptApart(t *testing.T) {
	late := request(10*ms, 5*ms, record.Admitted)
	late.Planned -= 4 * ms
	s := summarize(late, request(20*ms, 1*ms, record.Throttled), request(30*ms, 900*ms, record.Failed))
	for _, want := range []struct {
		outcome          record.Outcome
		latency, service time.Duration
	}{
		{record.Admitted, 9 * time.Millisecond, 5 * time.Millisecond},
		{record.Throttled, time.Millisecond, time.Millisecond},
		{record.Failed, 900 * time.Millisecond, 900 * time.Millisecond},
	} {
		o := s.Outcome(want.outcome)
		if o.Count != 1 {
			t.Errorf("Outcome(%v).Count = %d, want 1", want.outcome, o.Count)
		}
		if got := o.Latency.Quantile(0.99); !near(got, want.latency) {
			t.Errorf("Outcome(%v).Latency p99 = %v, want %v", want.outcome, got, want.latency)
		}
		if got := o.Service.Quantile(0.5); !near(got, want.service) {
			t.Errorf("Outcome(%v).Service p50 = %v, want %v", want.outcome, got, want.service)
		}
	}
	if got := s.SendLag.Max(); !near(got, 4*time.Millisecond) {
		t.Errorf("SendLag.Max() = %v, want 4ms", got)
	}
	if got, want := s.Elapsed(), 924*time.Millisecond; got != want {
		t.Errorf("Elapsed() = %v, want %v: from the first planned to the last done", got, want)
	}
}

// near allows the 0.1% that a histogram of three digits is off.
func near(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= 0.001*float64(want)+1
}

func TestTimelineCountsEachInstantInItsStep(t *testing.T) {
	a := request(900*ms, 300*ms, record.Admitted) // planned and sent in second 0, done in second 1
	a.Cost = 3
	s := summarize(a, request(2500*ms, ms, record.Throttled))
	got := [][]int64{}
	for _, c := range s.PerSecond().Cells {
		got = append(got, []int64{c.Planned, c.Sent, c.Outcomes[record.Admitted], c.Tokens, c.Outcomes[record.Throttled]})
	}
	want := [][]int64{{1, 1, 0, 0, 0}, {0, 0, 1, 3, 0}, {1, 1, 0, 0, 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("planned, sent, admitted, tokens, throttled per second (-want +got):\n%s", diff)
	}
}

func TestTimelineStaysSmallAndLosesNothing(t *testing.T) {
	s := stats.New(origin)
	const hours = 5
	for i := range int64(hours * 3600) {
		r := request(i*second, ms, record.Admitted)
		s.Add(&r)
	}
	if n := len(s.Timeline.Cells); n > 512 || n < 200 {
		t.Errorf("%d steps for %d hours, want 200 to 512", n, hours)
	}
	total := int64(0)
	for _, c := range s.Timeline.Cells {
		total += c.Outcomes[record.Admitted]
	}
	if total != hours*3600 {
		t.Errorf("steps hold %d requests, want %d", total, hours*3600)
	}
}

func TestEarlierThanTheOriginFallsIntoTheFirstStep(t *testing.T) {
	s := summarize(request(-5*second, ms, record.Admitted))
	if got := s.Timeline.Cells[0].Sent; got != 1 {
		t.Errorf("first step has %d sent, want 1", got)
	}
}

// A correct bucket has at no step's end admitted more than capacity + rate·t.
func TestAdmittedStaysBelowAllowed(t *testing.T) {
	promise := limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}
	for _, keys := range []int{1, 50} {
		t.Run(fmt.Sprint(keys, " keys"), func(t *testing.T) {
			a := statstest.Attack{
				Start: time.Unix(0, origin), Duration: 20 * time.Second, Limit: promise, Keys: keys, Seed: 7,
				Rate: func(float64) float64 { return 400 },
			}
			s := stats.New(origin)
			a.Each(s.Add)
			allowed := s.Keys.Allowed(promise, s.Timeline.Step, len(s.Timeline.Cells))
			total, closest := 0.0, math.Inf(1)
			for i, c := range s.Timeline.Cells {
				total += float64(c.Tokens)
				closest = min(closest, allowed[i]-total)
			}
			if closest < 0 {
				t.Errorf("admitted passes allowed by %.2f tokens", -closest)
			}
			if keys == 1 && closest > 1 {
				t.Errorf("admitted stays %.2f tokens away from allowed under 80 times its load: the bound is not tight", closest)
			}
		})
	}
}

func TestKeysPastTheBoundAreCountedTogether(t *testing.T) {
	s := stats.New(origin)
	const keys = 100_500
	for i := range keys {
		r := request(int64(i), ms, record.Throttled)
		r.Key = fmt.Sprint("k", i)
		s.Add(&r)
		if i == 7 {
			s.Add(&r)
		}
	}
	top, rest := s.Keys.Top(3)
	if top[0].Name != "k7" || top[0].Requests != 2 {
		t.Errorf("busiest key = %s with %d requests, want k7 with 2", top[0].Name, top[0].Requests)
	}
	if got := rest.Requests + top[0].Requests + top[1].Requests + top[2].Requests; got != keys+1 {
		t.Errorf("top and rest have %d requests, want all %d", got, keys+1)
	}
	if s.Keys.Complete() || s.Keys.Len() != 100_000 {
		t.Errorf("Complete() = %v, Len() = %d, want false, 100000", s.Keys.Complete(), s.Keys.Len())
	}
	if s.Keys.Allowed(limit.Limit{Capacity: 1, Rate: limit.Rate{Seconds: 1}}, time.Second, 1) != nil {
		t.Error("Allowed() invents a bound for keys it has not counted")
	}
}

func TestErrorsAndWaits(t *testing.T) {
	failed := func(status int, text string) record.Record {
		r := request(0, ms, record.Failed)
		r.Status, r.Error = status, text
		return r
	}
	throttled := func(wait float64) record.Record {
		r := request(0, ms, record.Throttled)
		r.Quota.RetryAfter = wait
		return r
	}
	s := summarize(failed(503, ""), failed(503, ""), failed(0, "timeout"), failed(0, ""),
		throttled(1), throttled(2), throttled(1), throttled(math.NaN()))
	wantErrors := []stats.Count[string]{{"503 Service Unavailable", 2}, {"no answer", 1}, {"timeout", 1}}
	if diff := cmp.Diff(wantErrors, s.Errors.List()); diff != "" {
		t.Errorf("Errors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]stats.Count[float64]{{1, 2}, {2, 1}}, s.Waits.List()); diff != "" {
		t.Errorf("Waits (-want +got):\n%s", diff)
	}
	if s.NoWait != 1 {
		t.Errorf("NoWait = %d, want 1", s.NoWait)
	}
}

func TestGapsAreInSentOrder(t *testing.T) {
	s := summarize(request(30*ms, ms, record.Admitted), request(0, 50*ms, record.Admitted), request(10*ms, ms, record.Admitted))
	if got := s.Gaps.Quantile(1); !near(got, 20*time.Millisecond) {
		t.Errorf("longest gap = %v, want 20ms", got)
	}
	if got := s.Gaps.Quantile(0); !near(got, 10*time.Millisecond) {
		t.Errorf("shortest gap = %v, want 10ms", got)
	}
	if got, want := s.Gaps.Variation(), 1./3; math.Abs(got-want) > 0.01 {
		t.Errorf("Variation() = %.3f, want %.3f", got, want)
	}
}

func TestSlowerTargetIsMeasuredStepByStep(t *testing.T) {
	s := stats.New(origin)
	for i := range int64(4000) {
		r := request(i*ms, 100_000, record.Admitted)
		if i%2 == 0 {
			r.Target, r.Done = "GET http://h/free", r.Sent+60_000
		}
		s.Add(&r)
	}
	list := s.Targets.List()
	d := list[1].Slower(list[0], 0.5)
	if d.Steps != 4 || math.Abs(float64(d.Median-40_000)) > 1500 {
		t.Errorf("%s slower than %s = %v in %d steps, want 40µs in 4", list[1].Name, list[0].Name, d.Median, d.Steps)
	}
	if d := list[1].Slower(list[0], 0.9999); d.Steps != 0 {
		t.Errorf("p99.99 of 500 requests a step compared in %d steps, want none: too few to tell", d.Steps)
	}
}

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		name    string
		numbers []float64
		want    stats.Spread
	}{
		{"nothing", nil, stats.Spread{}},
		{"one", []float64{5}, stats.Spread{N: 1, Mean: 5, Min: 5, Low: 5, Median: 5, High: 5, Max: 5}},
		{"four", []float64{4, 1, 3, 2}, stats.Spread{N: 4, Mean: 2.5, StdDev: math.Sqrt(1.25), Min: 1, Low: 1.5, Median: 2.5, High: 3.5, Max: 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, stats.Describe(test.numbers)); diff != "" {
				t.Errorf("Describe(%v) (-want +got):\n%s", test.numbers, diff)
			}
		})
	}
}

func TestRateLeavesOutThePartialSecond(t *testing.T) {
	records := []record.Record{}
	for i := range int64(25) {
		records = append(records, request(i*100*ms, ms, record.Admitted))
	}
	rate := summarize(records...).Rate(record.Admitted)
	if rate.N != 2 || rate.Median != 10 || rate.Min != 10 {
		t.Errorf("Rate() = %+v, want 10 in each of 2 whole seconds", rate)
	}
}

// drawRecord is any request of a few keys and targets within ten minutes.
func drawRecord(t *rapid.T, i int) record.Record {
	r := request(rapid.Int64Range(0, 600*second).Draw(t, "sent"), rapid.Int64Range(0, 20*second).Draw(t, "took"),
		record.Outcomes[rapid.IntRange(0, 2).Draw(t, "outcome")])
	r.Seq = uint64(i)
	r.Planned -= rapid.Int64Range(0, second).Draw(t, "lag")
	r.Key = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key")
	r.Target = rapid.SampledFrom([]string{"GET x", "GET y"}).Draw(t, "target")
	r.Cost = rapid.Int64Range(0, 5).Draw(t, "cost")
	r.Quota.Remaining = float64(rapid.IntRange(0, 9).Draw(t, "remaining"))
	return r
}

// However records are split and in whatever order the parts are merged, the
// numbers are those of all records at once.
func TestMergeIsTheSameAsAllAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		parts := []*stats.Summary{stats.New(origin), stats.New(origin), stats.New(origin)}
		all := stats.New(origin)
		for i := range n {
			r := drawRecord(t, i)
			all.Add(&r)
			parts[rapid.IntRange(0, 2).Draw(t, "part")].Add(&r)
		}
		merged := stats.New(origin)
		for _, i := range rapid.Permutation([]int{0, 1, 2}).Draw(t, "order") {
			merged.Merge(parts[i])
		}
		if diff := cmp.Diff(digest(all), digest(merged)); diff != "" {
			t.Fatalf("merged summaries differ from all at once (-all +merged):\n%s", diff)
		}
	})
}

// digest is everything of a summary that merging keeps, as lines to compare.
func digest(s *stats.Summary) string {
	b := &bytes.Buffer{}
	fmt.Fprintln(b, s.Count(), s.First, s.Last, s.NoWait, s.Errors.List(), s.Waits.List(), s.SendLag.Quantile(0.5), s.SendLag.Max())
	for _, o := range record.Outcomes {
		numbers := s.Outcome(o)
		fmt.Fprintln(b, o, numbers.Count, numbers.Tokens, numbers.Latency.Quantile(0.3), numbers.Latency.Max(), numbers.Service.Mean())
	}
	fmt.Fprintln(b, s.Timeline.Step)
	for i, c := range s.Timeline.Cells {
		if c.Sent+c.Planned+c.Outcomes[0]+c.Outcomes[1]+c.Outcomes[2] == 0 {
			continue
		}
		fmt.Fprintln(b, i, c.Planned, c.Sent, c.Outcomes, c.Tokens)
		for _, e := range c.Extremes {
			fmt.Fprintln(b, e.Fastest.Latency, e.Slowest.Latency)
		}
	}
	for i := range s.Latencies.Cells {
		c := &s.Latencies.Cells[i]
		for _, o := range record.Outcomes {
			fmt.Fprintln(b, i, c.Outcome(o).Count(), c.Outcome(o).Quantile(0.5))
		}
		fmt.Fprintln(b, c.SendLag().Count(), c.SendLag().Max())
	}
	top, _ := s.Keys.Top(10)
	for _, k := range top {
		fmt.Fprintln(b, k.Name, k.Requests, k.Outcomes, k.Tokens, k.First, k.Last, k.Line.Step, k.Line.Cells)
	}
	for _, target := range s.Targets.List() {
		fmt.Fprintln(b, target.Name, target.Outcomes, target.Admitted.Quantile(0.9))
	}
	return b.String()
}

func BenchmarkAdd(b *testing.B) {
	a := statstest.Attack{
		Start: time.Unix(0, origin), Duration: 10 * time.Second, Keys: 1000, Seed: 1,
		Limit: limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}},
		Rate:  func(float64) float64 { return 2000 },
	}
	records := []record.Record{}
	a.Each(func(r *record.Record) { records = append(records, *r) })
	s := stats.New(origin)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Add(&records[i%len(records)])
	}
}
