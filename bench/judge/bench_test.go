package judge_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
)

// play feeds a judge n requests over some keys, at ten times a limit of 1,000/s
// for each, decided by a correct bucket, with answers out of order.
func play(b *testing.B, n, keys int, quota bool) *judge.Judge {
	b.Helper()
	l := limit.Limit{Capacity: 100, Rate: limit.Rate{Tokens: 1000, Seconds: 1}}
	j, err := judge.New(judge.Options{Limit: l, Fresh: true})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	names, states := make([]string, keys), make([]limit.State, keys)
	for i := range names {
		names[i] = "10.0." + strconv.Itoa(i>>8) + "." + strconv.Itoa(i&255)
	}
	batch := make([]record.Record, 0, 1024)
	const epoch = 1_700_000_000_000_000
	for i := range n {
		k := i % keys
		decided := int64(epoch + i*100/keys)
		d, state := l.Take(states[k], decided, 1)
		states[k] = state
		r := record.Record{
			Key: names[k], Cost: 1, Sent: decided*1000 - rng.Int64N(2_000_000), Done: decided*1000 + rng.Int64N(2_000_000),
			Outcome: record.Throttled, Quota: record.NoQuota,
		}
		if d.Allowed {
			r.Outcome = record.Admitted
		}
		if quota {
			r.Quota.DecidedAt, r.Quota.Remaining, r.Quota.FieldLeft = d.DecidedAt, float64(d.Remaining/10_000)/100, float64(d.Remaining/limit.MicroToken)
			if !d.Allowed {
				r.Quota.RetryAfter = 1
			}
		}
		if batch = append(batch, r); len(batch) == cap(batch) || i == n-1 {
			if err := j.Add(batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return j
}

// BenchmarkVerdict judges one history each time: from the first Verdict on nothing
// is shared between times but the columns. Peak is the process's, so run one size
// alone to see its own.
func BenchmarkVerdict(b *testing.B) {
	for _, size := range []struct {
		records, keys int
		quota         bool
	}{{1e6, 1, false}, {1e6, 1, true}, {1e6, 100_000, false}, {1e6, 100_000, true}, {10e6, 1, false}, {10e6, 1, true}} {
		name := fmt.Sprintf("records=%d/keys=%d/quota=%v", size.records, size.keys, size.quota)
		b.Run(name, func(b *testing.B) {
			if testing.Short() && size.records > 1e6 {
				b.Skip("ten million records take a gigabyte")
			}
			j := play(b, size.records, size.keys, size.quota)
			b.ResetTimer()
			for b.Loop() {
				if v := j.Verdict(); v.Verdict == judge.Broken {
					b.Fatal(v.Sentence)
				}
			}
			b.ReportMetric(float64(size.records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(peakMB(), "peak-MB")
			runtime.KeepAlive(j)
		})
	}
}

// peakMB is the most memory this process ever had, where the system tells.
func peakMB() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kb / 1024
		}
	}
	return 0
}
