package record_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/bench/record"
)

// sample is n records as an attack makes them: growing instants, jitter, three
// outcomes, absent and present quotas.
func sample(n int) []record.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]record.Record, n)
	for i := range records {
		planned := done + int64(i)*20_000
		sent := planned + rng.Int64N(5_000)
		r := record.Record{
			Seq: uint64(i), Plan: "overload", Key: fmt.Sprintf("key-%04d", rng.IntN(1000)),
			Target: "GET http://127.0.0.1:8000/items", Cost: 1,
			Planned: planned, Sent: sent, Done: sent + 80_000 + int64(rng.ExpFloat64()*50_000),
			Status: 200, Outcome: record.Admitted, Read: 35, Quota: record.NoQuota,
		}
		r.Quota.Limit, r.Quota.Rate, r.Quota.Remaining = 20, 5, float64(rng.IntN(2000))/100
		r.Quota.DecidedAt = r.Sent/1000 + 40
		switch rng.IntN(10) {
		case 0:
			r.Status, r.Outcome, r.Error = 0, record.Failed, "connection refused"
			r.Quota = record.NoQuota
		case 1, 2, 3, 4:
			r.Status, r.Outcome = 429, record.Throttled
			r.Quota.RetryAfter, r.Quota.Remaining = 1, 0.5
		}
		records[i] = r
	}
	return records
}

func readAll(tb testing.TB, path string) ([]record.Record, []*record.DamagedError) {
	tb.Helper()
	r, err := record.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	var all []record.Record
	for batch := range r.Batches() {
		all = append(all, batch...)
	}
	if err := r.Err(); err != nil {
		tb.Fatal(err)
	}
	if err := r.Close(); err != nil {
		tb.Fatal(err)
	}
	return all, r.Damaged()
}

func writeAll(tb testing.TB, dir string, records []record.Record) {
	tb.Helper()
	w, err := record.Create(dir)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Append(records); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
}

func segmentsIn(tb testing.TB, dir string) []string {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

func diff(want, got []record.Record) string { return cmp.Diff(want, got, cmpopts.EquateNaNs()) }

func TestReadsBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 1023, 1024, 1025, 10_000} {
		dir := filepath.Join(t.TempDir(), "overload")
		want := sample(n)
		writeAll(t, dir, want)
		got, damaged := readAll(t, dir)
		if len(damaged) > 0 {
			t.Errorf("%d records: damaged: %v", n, damaged)
		}
		if d := diff(want, got); d != "" {
			t.Fatalf("%d records, -written +read:\n%.2000s", n, d)
		}
	}
}

func TestExtremesSurvive(t *testing.T) {
	t.Parallel()
	odd := record.Record{
		Seq: math.MaxUint64, Plan: "p", Key: "käse\x00\"\n", Cost: math.MaxInt64, Planned: math.MinInt64, Sent: 0, Done: math.MaxInt64,
		Status: -1, Outcome: record.Failed, Quota: record.NoQuota,
	}
	odd.Quota.Remaining, odd.Quota.Reset = 0, math.MaxFloat64
	want := []record.Record{odd, {Outcome: record.Admitted, Quota: record.NoQuota}, odd}
	dir := t.TempDir()
	writeAll(t, dir, want)
	got, _ := readAll(t, dir)
	if d := diff(want, got); d != "" {
		t.Errorf("-written +read:\n%s", d)
	}
}

func TestManySegmentsReadInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := sample(600_000) // more than two full segments
	writeAll(t, filepath.Join(dir, "b"), want[:300_000])
	writeAll(t, filepath.Join(dir, "b"), want[300_000:500_000]) // counts on, never overwrites
	writeAll(t, filepath.Join(dir, "c"), want[500_000:])
	if n := len(segmentsIn(t, filepath.Join(dir, "b"))); n != 3 {
		t.Errorf("%d files for 300,000 and 200,000 records, want 3", n)
	}
	got, _ := readAll(t, dir)
	if len(got) != len(want) {
		t.Fatalf("read %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Seq != uint64(i) {
			t.Fatalf("record %d has seq %d", i, got[i].Seq)
		}
	}
}

func TestDamagedSegmentLeavesTheOthersReadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := sample(3000)
	for i := range 3 {
		writeAll(t, dir, want[i*1000:(i+1)*1000])
	}
	names := segmentsIn(t, dir)
	if len(names) != 3 {
		t.Fatalf("segments: %v, want 3", names)
	}
	truncate(t, names[2], 2)
	truncate(t, names[0], 3)
	got, damaged := readAll(t, dir)
	if d := diff(want[1000:2000], got); d != "" {
		t.Errorf("-written +read:\n%.2000s", d)
	}
	if len(damaged) != 2 || damaged[0].File != names[0] || damaged[1].File != names[2] {
		t.Fatalf("damaged: %v, want %s and %s", damaged, names[0], names[2])
	}
	if !strings.Contains(damaged[1].Error(), names[2]) {
		t.Errorf("the warning %q does not name %s", damaged[1], names[2])
	}
}

func truncate(tb testing.TB, name string, divisor int64) {
	tb.Helper()
	info, err := os.Stat(name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(name, info.Size()/divisor); err != nil {
		tb.Fatal(err)
	}
}

func TestSegmentIsWholeOrAbsent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(sample(1500)); err != nil {
		t.Fatal(err)
	}
	if names := segmentsIn(t, dir); len(names) > 1 {
		t.Errorf("while one is written: %v", names)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := w.Append(sample(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Append after Close: %v, want os.ErrClosed", err)
	}
	if got, _ := readAll(t, dir); len(got) != 1500 {
		t.Errorf("read %d records, want 1500", len(got))
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for _, path := range []string{empty, filepath.Join(empty, "none")} {
		if _, err := record.Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%q) = %v, want an error that names it", path, err)
		}
	}
	if _, err := record.Create("/dev/null/records"); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("Create below a file = %v, want an error that names it", err)
	}
}

func BenchmarkWrite(b *testing.B) {
	records := sample(100_000)
	dir := b.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Append(records); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	n := float64(b.N * len(records))
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	var size int64
	for _, name := range segmentsIn(b, dir) {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	b.ReportMetric(float64(size)/n, "B/record")
}

func BenchmarkRead(b *testing.B) {
	const count = 1_000_000
	dir := b.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	records := sample(100_000)
	for range count / len(records) {
		if err := w.Append(records); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := record.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for batch := range r.Batches() {
			n += len(batch)
		}
		if r.Err() != nil || n != count {
			b.Fatalf("read %d records, want %d: %v", n, count, r.Err())
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
