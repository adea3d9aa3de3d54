package redislimit_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
	"weir/lua"
)

// modes are the ways to decide a take, each over the same client.
var modes = []struct {
	name string
	open func(rdb redis.UniversalClient, l limit.Limit, prefix string) (limit.Limiter, error)
}{
	{"plain", open(redislimit.Config{Batch: 1, Remember: -1})},
	{"batch", open(redislimit.Config{Remember: -1})},
	{"autopipeline", openAutoPipeline},
	{"default", open(redislimit.Config{})},
	{"lease", open(redislimit.Config{Lease: 1})}, // set to 1000 where the capacity allows it
}

func open(c redislimit.Config) func(redis.UniversalClient, limit.Limit, string) (limit.Limiter, error) {
	return func(rdb redis.UniversalClient, l limit.Limit, prefix string) (limit.Limiter, error) {
		c := c
		c.Prefix = prefix
		if c.Lease > 0 {
			c.Lease = min(1000, l.Capacity)
		}
		return redislimit.New(rdb, l, c)
	}
}

// openAutoPipeline is what go-redis offers instead of batches: one EVALSHA a
// take, many in one write.
func openAutoPipeline(rdb redis.UniversalClient, l limit.Limit, prefix string) (limit.Limiter, error) {
	pipeliner, err := rdb.(*redis.Client).AutoPipeline()
	return &autoPipelined{pipeliner, redis.NewScript(lua.TokenBucket), l, prefix}, err
}

type autoPipelined struct {
	pipeliner *redis.AutoPipeliner
	script    *redis.Script
	limit     limit.Limit
	prefix    string
}

func (a *autoPipelined) Limit() limit.Limit { return a.limit }

func (a *autoPipelined) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	reply, err := a.script.EvalSha(ctx, a.pipeliner, []string{a.prefix + key},
		a.limit.Rate.Tokens, a.limit.Rate.Seconds, a.limit.Capacity, cost).Int64Slice()
	if err != nil {
		return limit.Decision{}, err
	}
	return limit.Decision{Allowed: reply[0] == 1, Remaining: reply[1], DecidedAt: reply[4]}, nil
}

// BenchmarkTake times one decision, from the call to the answer, over a private
// Redis on a unix socket: client and server share the machine, so compare the
// rows of one run. Names are mode/callers=N/keys=N/outcome.
func BenchmarkTake(b *testing.B) {
	rdb, err := redislimit.NewClient(limittest.Redis(b))
	if err != nil {
		b.Fatal(err)
	}
	defer rdb.Close()
	if err := rdb.ScriptLoad(context.Background(), lua.TokenBucket).Err(); err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 2, 64, 512} {
		for _, keys := range []int{1, 10_000} {
			for _, outcome := range []struct{ name, limit string }{
				{"admitted", "1000000/s,capacity=1000000000"},
				{"throttled", "1/h,capacity=1"},
			} {
				for _, mode := range modes {
					b.Run(fmt.Sprintf("%s/callers=%d/keys=%d/%s", mode.name, callers, keys, outcome.name), func(b *testing.B) {
						l, err := limit.Parse(outcome.limit)
						if err != nil {
							b.Fatal(err)
						}
						limiter, err := mode.open(rdb, l, outcome.name)
						if err != nil {
							b.Fatal(err)
						}
						benchmarkTake(b, rdb, limiter, callers, keys, outcome.name == "admitted")
					})
				}
			}
		}
	}
}

// benchmarkTake shares b.N takes among callers. It takes every key once before
// the clock starts, so that a bucket of one token is empty when it does.
func benchmarkTake(b *testing.B, rdb redis.UniversalClient, limiter limit.Limiter, callers, keys int, admitted bool) {
	names := make([]string, keys)
	for i := range names {
		names[i] = "key" + strconv.Itoa(i)
	}
	took := hdrhistogram.New(1, 10_000_000_000, 2) // ns
	var mu sync.Mutex
	take := func(callers, n int, check bool) {
		var next atomic.Int64
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				mine := hdrhistogram.New(1, 10_000_000_000, 2)
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					started := time.Now()
					d, err := limiter.Take(context.Background(), names[i%int64(keys)], 1)
					if err != nil || check && d.Allowed != admitted {
						b.Errorf("Take = %+v, %v, want allowed %t", d, err, admitted)
						return
					}
					_ = mine.RecordValue(time.Since(started).Nanoseconds()) // more than 10 s count as 10
				}
				if check {
					mu.Lock()
					defer mu.Unlock()
					took.Merge(mine)
				}
			})
		}
		group.Wait()
	}
	take(16, keys, false)
	rdb.ConfigResetStat(context.Background())
	b.ReportAllocs()
	b.ResetTimer()
	take(callers, b.N, true)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(took.ValueAtQuantile(50))/1000, "p50-µs")
	b.ReportMetric(float64(took.ValueAtQuantile(99))/1000, "p99-µs")
	b.ReportMetric(serverTime(rdb)/float64(b.N), "redis-µs/op")
}

// serverTime is how many µs Redis has spent in EVALSHA, by its own account.
func serverTime(rdb redis.UniversalClient) float64 {
	stats := rdb.Info(context.Background(), "commandstats").Val()
	_, stats, _ = strings.Cut(stats, "cmdstat_evalsha:")
	_, stats, _ = strings.Cut(stats, "usec=")
	text, _, _ := strings.Cut(stats, ",")
	usec, _ := strconv.ParseFloat(text, 64) // 0 where there was none
	return usec
}
