package redislimit_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
)

// BenchmarkTake times one decision, from the call to the answer, over a private
// Redis on a unix socket: client and server share the machine, so compare the
// rows of one run. Names are
// mode/callers=N/keys=N/outcome.
func BenchmarkTake(b *testing.B) {
	url := limittest.Redis(b)
	rdb, err := redislimit.NewClient(url)
	if err != nil {
		b.Fatal(err)
	}
	defer rdb.Close()
	outcomes := []struct {
		name  string
		limit string
	}{
		{"admitted", "1000000/s,capacity=1000000000"},
		{"throttled", "1/h,capacity=1"},
	}
	for _, callers := range []int{1, 64, 512} {
		for _, keys := range []int{1, 10_000} {
			for _, outcome := range outcomes {
				b.Run(fmt.Sprintf("plain/callers=%d/keys=%d/%s", callers, keys, outcome.name), func(b *testing.B) {
					l, err := limit.Parse(outcome.limit)
					if err != nil {
						b.Fatal(err)
					}
					limiter, err := redislimit.New(rdb, l, redislimit.Config{Prefix: outcome.name})
					if err != nil {
						b.Fatal(err)
					}
					benchmarkTake(b, limiter, callers, keys, outcome.name == "admitted")
				})
			}
		}
	}
}

// benchmarkTake shares b.N takes among callers. It takes every key once before
// the clock starts, so that a bucket of one token is empty when it does.
func benchmarkTake(b *testing.B, limiter limit.Limiter, callers, keys int, admitted bool) {
	names := make([]string, keys)
	for i := range names {
		names[i] = "key" + strconv.Itoa(i)
	}
	take := func(callers, n int, check bool) {
		var next atomic.Int64
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					d, err := limiter.Take(context.Background(), names[i%int64(keys)], 1)
					if err != nil || check && d.Allowed != admitted {
						b.Errorf("Take = %+v, %v, want allowed %t", d, err, admitted)
						return
					}
				}
			})
		}
		group.Wait()
	}
	take(16, keys, false)
	b.ReportAllocs()
	b.ResetTimer()
	take(callers, b.N, true)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
