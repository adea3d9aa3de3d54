package output_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.k6.io/k6/v2/lib/netext/httpext"
	"go.k6.io/k6/v2/metrics"
	k6output "go.k6.io/k6/v2/output"

	"weir/bench/record"
	"weir/k6/output"
)

// A k6 plays k6 towards the output, without a process: what it hands over is what
// k6's transport and its custom metrics hand over.
type k6 struct {
	registry *metrics.Registry
	custom   *metrics.Metric
}

func newK6() *k6 {
	registry := metrics.NewRegistry()
	return &k6{registry: registry, custom: registry.MustNewMetric("weir_admitted", metrics.Counter)}
}

func (k *k6) tags(pairs ...string) *metrics.TagSet {
	set := k.registry.RootTagSet()
	for i := 0; i < len(pairs); i += 2 {
		set = set.With(pairs[i], pairs[i+1])
	}
	return set
}

func (k *k6) answer(metadata map[string]string) metrics.Sample {
	series := metrics.TimeSeries{Metric: k.custom, Tags: k.tags()}
	return metrics.Sample{TimeSeries: series, Time: time.Now(), Value: 1, Metadata: metadata}
}

// write runs the output over the containers and reads back what it wrote.
func write(t *testing.T, containers ...metrics.SampleContainer) []record.Record {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "polite")
	out, err := output.New(k6output.Params{ConfigArgument: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Start(); err != nil {
		t.Fatal(err)
	}
	out.AddMetricSamples(containers)
	if err := out.Stop(); err != nil {
		t.Fatal(err)
	}
	return read(t, dir)
}

func read(t *testing.T, dir string) []record.Record {
	t.Helper()
	reader, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var all []record.Record
	for batch := range reader.Batches() {
		all = append(all, batch...)
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b record.Record) int { return int(a.Seq) - int(b.Seq) })
	return all
}

func TestRecordOfARequest(t *testing.T) {
	k, end := newK6(), time.Now()
	records := write(t, &httpext.Trail{
		EndTime: end, Duration: 30 * time.Millisecond, Blocked: 5 * time.Millisecond,
		Tags: k.tags("method", "GET", "url", "http://h/items", "status", "200", "key", "alice", "cost", "3"),
	})
	if len(records) != 1 {
		t.Fatalf("%d records written, want 1", len(records))
	}
	r := records[0]
	if got := time.Unix(0, r.Done).Sub(end).Abs(); got > time.Millisecond {
		t.Errorf("Done is %v from the end of the request", got)
	}
	if got := time.Duration(r.Done - r.Sent); got != 30*time.Millisecond {
		t.Errorf("Done - Sent = %v, want 30ms: sending, waiting and receiving, no connecting", got)
	}
	if r.Planned != r.Sent {
		t.Errorf("Planned = %d, want Sent (%d): k6 keeps no planned time", r.Planned, r.Sent)
	}
	if r.Plan != "polite" || r.Key != "alice" || r.Cost != 3 || r.Target != "GET http://h/items" ||
		r.Status != 200 || r.Outcome != record.Admitted || r.Error != "" {
		t.Errorf("record = %+v", r)
	}
	if !math.IsNaN(r.Quota.Remaining) || r.Quota.DecidedAt != 0 {
		t.Errorf("quota = %+v, want none: nobody told the headers", r.Quota)
	}
}

func TestOutcomeAndReason(t *testing.T) {
	for _, row := range []struct {
		name, status, err string
		want              record.Outcome
		reason            string
	}{
		{"admitted", "204", "", record.Admitted, ""},
		{"throttled is no failure", "429", "", record.Throttled, ""},
		{"server error", "503", "", record.Failed, "503 Service Unavailable"},
		{"no answer", "0", "request timeout", record.Failed, "request timeout"},
		{
			"ports do not make every error its own", "0",
			"read tcp 127.0.0.1:41234->[::1]:8000: use of closed network connection", record.Failed,
			"read tcp: use of closed network connection",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := newK6()
			tags := k.tags("method", "GET", "url", "http://h/", "status", row.status)
			if row.err != "" {
				tags = tags.With("error", row.err)
			}
			r := write(t, &httpext.Trail{EndTime: time.Now(), Tags: tags})[0]
			if r.Outcome != row.want || r.Error != row.reason {
				t.Errorf("outcome %v, error %q; want %v, %q", r.Outcome, r.Error, row.want, row.reason)
			}
		})
	}
}

// Answers are told after their requests, in another order, one of them twice and
// one not at all.
func TestHeadersJoinTheirRequest(t *testing.T) {
	k := newK6()
	trail := func(number, slot, status string) *httpext.Trail {
		tags := k.tags("method", "GET", "url", "http://h/", "status", status)
		if slot != "" {
			tags = tags.With("weir_slot", slot)
		}
		return &httpext.Trail{EndTime: time.Now(), Tags: tags, Metadata: map[string]string{"weir_request": number}}
	}
	told := func(number, headers string) metrics.Sample {
		return k.answer(map[string]string{"weir_request": number, "weir_answer": headers})
	}
	second := told("1/2/1", `{"Retry-After":"3","X-Ratelimit-Decided-At":"1700000000000002"}`)
	records := write(t,
		trail("1/1", "", "200"),
		trail("1/2", "0", "200"),
		trail("1/2", "1", "429"),
		trail("2/1", "", "200"),
		trail("3/1", "", "200"),
		second, second,
		told("1/2/0", `{"X-Ratelimit-Remaining":"4.25","Content-Length":"7"}`),
		told("1/1", `{"X-Ratelimit-Remaining":"5"}`),
		told("2/1", `not JSON`),
		told("9/9", `{"X-Ratelimit-Remaining":"9"}`),
		k.answer(nil),
	)
	if len(records) != 5 {
		t.Fatalf("%d records, want 5: one for each request", len(records))
	}
	if got := records[0].Quota.Remaining; got != 5 {
		t.Errorf("request 1/1: remaining %v, want 5", got)
	}
	if got := records[1]; got.Quota.Remaining != 4.25 || got.Read != 7 {
		t.Errorf("request 1/2/0: remaining %v, read %d; want 4.25, 7", got.Quota.Remaining, got.Read)
	}
	if got := records[2].Quota; got.RetryAfter != 3 || got.DecidedAt != 1700000000000002 {
		t.Errorf("request 1/2/1: quota %+v, want Retry-After 3 and its decision time", got)
	}
	for _, r := range records[3:] {
		if !math.IsNaN(r.Quota.Remaining) {
			t.Errorf("request %d: remaining %v, want none: its headers were never told", r.Seq, r.Quota.Remaining)
		}
	}
}

func TestOffIsNotRecorded(t *testing.T) {
	k := newK6()
	records := write(t,
		&httpext.Trail{EndTime: time.Now(), Tags: k.tags("status", "200", "weir", "off")},
		&httpext.Trail{EndTime: time.Now(), Tags: k.tags("status", "200")},
	)
	if len(records) != 1 {
		t.Errorf("%d records, want 1: the other is tagged weir=off", len(records))
	}
}

func TestNoFolder(t *testing.T) {
	_, err := output.New(k6output.Params{})
	if err == nil || !strings.Contains(err.Error(), "--out weir=DIR") {
		t.Errorf("New without a folder: %v, want an error that shows how to give one", err)
	}
}

func TestFolderCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := output.New(k6output.Params{ConfigArgument: filepath.Join(file, "plan")})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Start(); err == nil {
		t.Error("Start below a file: no error")
	}
}

// A disk that fails in the middle ends the run, once, with the reason.
func TestFailedWriteEndsTheRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plan")
	out, err := output.New(k6output.Params{ConfigArgument: dir})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 10)
	out.(k6output.WithTestRunStop).SetTestRunStopCallback(func(err error) { stopped <- err })
	if err := out.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	k := newK6()
	trail := &httpext.Trail{EndTime: time.Now(), Tags: k.tags("status", "200")}
	var reason error
	for reason == nil { // the writer notices when it closes a segment, after about a second
		out.AddMetricSamples([]metrics.SampleContainer{trail})
		select {
		case reason = <-stopped:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if !errors.Is(reason, os.ErrNotExist) {
		t.Errorf("run ended with %v, want the writer's error", reason)
	}
	if err := out.Stop(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stop = %v, want the writer's error", err)
	}
	if len(stopped) != 0 {
		t.Errorf("the run was ended %d times, want once", 1+len(stopped))
	}
}
