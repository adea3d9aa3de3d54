package report_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"weir/bench/report"
	"weir/bench/stats/statstest"
)

// BenchmarkMillion writes the report of a run of 1,000,000 records of 1,000
// keys. The goal: under 5 s, an HTML page under 3 MB, memory (peak-MB, of the
// whole process) under 300 MB.
func BenchmarkMillion(b *testing.B) {
	folder := newRun(b, statstest.Attack{
		Plan: "million", Start: start, Duration: 100 * time.Second, Rate: steady(10_000),
		Limit: mustLimit(b, "5/s,capacity=20"), Keys: 1000, Seed: 1,
	})
	runtime.GC()
	for b.Loop() {
		r, err := report.Write(context.Background(), folder, nil, quiet())
		if err != nil {
			b.Fatal(err)
		}
		if n := r.Plans[0].Records; n < 999_000 {
			b.Fatalf("report of %d records, want about a million", n)
		}
	}
	info, err := os.Stat(filepath.Join(folder.Path, "report.html"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "html-MB")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
}
