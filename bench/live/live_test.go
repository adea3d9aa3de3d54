package live

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/record"
)

func noLoad(time.Duration) (rate, users float64) { return nan, nan }

func answer(at, took time.Duration, outcome record.Outcome) record.Record {
	return record.Record{Planned: int64(at - took), Sent: int64(at - took), Done: int64(at), Outcome: outcome, Cost: 1, Target: "GET http://a/", Key: "k-7"}
}

// Percentiles of a coarse step are those of its requests, not means of those of
// the fine steps in it.
func TestHistoryNeverAveragesPercentiles(t *testing.T) {
	t.Parallel()
	h := newHistory(0, noLoad)
	for i := range 400 { // 3 quick quarters of a second, 1 slow one
		took := time.Millisecond
		if i >= 300 {
			took = 100 * time.Millisecond
		}
		r := answer(time.Duration(i)*2500*time.Microsecond+1, took, record.Admitted)
		h.add(&r)
	}
	h.advance(int64(10 * time.Second))
	second := h.ordered(1, 0)
	if p50 := second[colAdmittedP50]; math.Abs(p50-1e6) > 2e4 {
		t.Errorf("p50 of the second = %g ns, want that of most requests, 1 ms", p50)
	}
	if p99 := second[colAdmittedP99]; math.Abs(p99-1e8) > 2e6 {
		t.Errorf("p99 of the second = %g ns, want 100 ms", p99)
	}
	if rate := second[colAdmitted]; rate != 400 {
		t.Errorf("admitted = %g/s, want 400/s", rate)
	}
	if !math.IsNaN(second[colThrottledP50]) {
		t.Errorf("p50 of no throttled request = %g, want none", second[colThrottledP50])
	}
}

func TestHistoryIsBoundedAndOrdered(t *testing.T) {
	t.Parallel()
	h := newHistory(0, noLoad)
	for s := range 3 * 3600 { // three hours, one answer a second
		r := answer(time.Duration(s)*time.Second+1, time.Millisecond, record.Throttled)
		h.add(&r)
		h.take()
	}
	h.advance(int64(3 * time.Hour))
	for i, size := range ringSizes {
		rows := h.all()[i].Columns["at_s"]
		if len(rows) > size.rows {
			t.Errorf("ring of %s holds %d rows, want at most %d", size.step, len(rows), size.rows)
		}
		for j := 1; j < len(rows); j++ {
			if rows[j]-rows[j-1] != size.step.Seconds() {
				t.Fatalf("ring of %s: %g s follows %g s", size.step, rows[j], rows[j-1])
			}
		}
	}
	if whole := h.all()[2].Columns["throttled"]; len(whole) < 1078 || whole[0] != 1 {
		t.Errorf("the ring of 10 s has %d rows from %g/s on, want three hours of 1/s", len(whole), whole[0])
	}
}

func TestLateAnswersAreNotLost(t *testing.T) {
	t.Parallel()
	h := newHistory(0, noLoad)
	for _, at := range []time.Duration{10 * time.Second, 9 * time.Second, time.Second} { // out of order, and hopelessly late
		r := answer(at, time.Millisecond, record.Admitted)
		h.add(&r)
	}
	h.finish()
	total := 0.0
	for _, x := range h.all()[0].Columns["admitted"] {
		total += x * 0.25
	}
	if total != 3 {
		t.Errorf("the history holds %g answers, want 3", total)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"live-0": "live-0", "live-007": "live-1 to 9", "live-42": "live-10 to 99", "k6-abc-100": "k6-abc-100 to 999", "alice": "alice", "127.0.1.7": "127.0.1.7",
	} {
		if got := group(key); got != want {
			t.Errorf("group(%s) = %s, want %s", key, got, want)
		}
	}
}

func TestTablesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMeter(0, noLoad)
	for i := range 1000 {
		r := answer(time.Second, time.Millisecond, record.Failed)
		r.Target, r.Key, r.Error = fmt.Sprintf("GET http://a/%d", i), fmt.Sprintf("k%d-x", i), fmt.Sprintf("odd %d", i)
		m.add([]record.Record{r})
	}
	tables := m.tables(int64(3 * time.Second))
	sum := int64(0)
	for _, l := range tables.Targets {
		sum += l.Requests
	}
	if len(tables.Targets) > maxTargets+1 || len(tables.Groups) > maxGroups+1 || sum != 1000 {
		t.Errorf("%d targets and %d groups with %d requests, want few with 1000", len(tables.Targets), len(tables.Groups), sum)
	}
	if n := int64(len(tables.Failures)) + tables.Others; len(tables.Failures) != maxFailures || n != 1000 {
		t.Errorf("%d failures and %d others, want %d and the rest", len(tables.Failures), tables.Others, maxFailures)
	}
}

func TestTheJudgeLooksAtTheLatest(t *testing.T) {
	t.Parallel()
	m := newMeter(0, noLoad)
	for at := time.Duration(0); at < 20*judgeSpan; at += 10 * time.Millisecond {
		m.add([]record.Record{answer(at, time.Millisecond, record.Admitted)})
		if len(m.recent) > 2*judgeRecords {
			t.Fatalf("%d records are kept", len(m.recent))
		}
	}
	latest := m.latest()
	if first := latest[0].Done; first < int64(19*judgeSpan)-int64(time.Second) || len(latest) < 2900 || cap(m.recent) > 40_000 {
		t.Errorf("the judge gets %d records from %s on, of %d kept; want those of the last %s", len(latest), time.Duration(first), cap(m.recent), judgeSpan)
	}
}

// A limiter that gives twice its capacity is found while the attack runs, and
// stays found.
func TestRunningVerdict(t *testing.T) {
	t.Parallel()
	promise, err := limit.Parse("10/s,capacity=10")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{limit: promise, plan: "live"}
	burst := func(n int) (records []record.Record) {
		for range n {
			records = append(records, answer(time.Second, time.Millisecond, record.Admitted))
		}
		return records
	}
	for _, test := range []struct {
		n    int
		want string
	}{{9, soFar}, {20, "broken"}, {1, "broken"}} {
		v, err := b.judge(burst(test.n))
		if err != nil || v.Verdict != test.want {
			t.Fatalf("after %d at once: %+v, %v; want %s", test.n, v, err, test.want)
		}
		if (v.Margin < 0) != (test.want == "broken") {
			t.Errorf("after %d at once: margin %g", test.n, v.Margin)
		}
	}
}

func TestStreamGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	h := newHub()
	server := httptest.NewServer(h)
	defer server.Close()
	defer h.close()
	for i := range 3 {
		h.publish("n", i)
	}
	read := func(id string, events int) (got []string) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Last-Event-ID", id)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		name := ""
		for lines := bufio.NewScanner(response.Body); len(got) < events && lines.Scan(); {
			if text, found := strings.CutPrefix(lines.Text(), "event: "); found {
				name = text
			}
			if text, found := strings.CutPrefix(lines.Text(), "data: "); found {
				got = append(got, name+text)
			}
		}
		return got
	}
	if got := fmt.Sprint(read(h.epoch+"-1", 2)); got != "[n1 n2]" {
		t.Errorf("after event 1: %s, want the two that follow", got)
	}
	for _, id := range []string{"", "other-1", h.epoch + "-99", "nonsense"} {
		if got := fmt.Sprint(read(id, 1)); got != "[resync{}]" {
			t.Errorf("after %q: %s, want resync", id, got)
		}
	}
	for i := range 2 * keptEvents {
		h.publish("n", i)
	}
	if got := fmt.Sprint(read(h.epoch+"-1", 1)); got != "[resync{}]" {
		t.Errorf("after an event that is long gone: %s, want resync", got)
	}
	if got := fmt.Sprint(read(fmt.Sprintf("%s-%d", h.epoch, h.next-2), 1)); got != fmt.Sprintf("[n%d]", 2*keptEvents-1) {
		t.Errorf("the newest event: %s", got)
	}
}

func TestWatchReadsMetrics(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	looks := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "application/json" {
			fmt.Fprintf(w, `{"points":[{"ts":%d,"allowed":5,"blocked":7,"tokens":1.5,"latency_ms":0.2}],"capacity":20,"rate":5}`, now-1)
			return
		}
		looks++
		fmt.Fprintf(w, `# HELP x
weir_decisions_total{outcome="allowed",route="/items"} %[1]d
weir_decisions_total{outcome="denied",route="/items"} 7
weir_decisions_total{outcome="error_open",route="/items"} 2
weir_backend_up 0
weir_admitted_duration_seconds_bucket{route="/items",le="0.001"} %[1]d
weir_admitted_duration_seconds_bucket{route="/items",le="0.002"} %[2]d
weir_admitted_duration_seconds_bucket{route="/items",le="+Inf"} %[2]d
`, 5+90*looks, 5+100*looks)
	}))
	defer api.Close()
	base, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch(0, base)
	for range 2 {
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	u := w.update(now+1, 60)
	if s := u.Status; s.Capacity != 20 || s.Rate != 5 || s.Denied != 7 || s.Errors != 2 || s.Backend {
		t.Errorf("status %+v", s)
	}
	window := u.Windows[0]
	if window.Allowed != 5 || window.Blocked != 7 || window.Count != 100 {
		t.Errorf("window %+v, want 5 allowed, 7 blocked and 100 latencies", window)
	}
	if math.Abs(window.P50-5e6/9) > 1e3 || math.Abs(window.P95-1.5e6) > 1e3 || window.Max != 2e6 {
		t.Errorf("p50 %g, p95 %g, max %g ns; want 0.556, 1.5 and at most 2 ms", window.P50, window.P95, window.Max)
	}
	api.Close()
	if err := w.look(t.Context()); err == nil {
		t.Error("a dead API was read")
	}
}

// The pictures of a spreadsheet must not run what a target answered.
func TestSheetsHoldNoFormulas(t *testing.T) {
	t.Parallel()
	b := &strings.Builder{}
	out := newSheet(b, "what")
	out.put("=HYPERLINK(1)", "@x", "fine", 1.5, nan)
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	if want := "what\n'=HYPERLINK(1),'@x,fine,1.5,\n"; b.String() != want {
		t.Errorf("sheet = %q, want %q", b.String(), want)
	}
}
