package peers_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/bench/judge"
	"weir/bench/peers"
	"weir/bench/record"
	"weir/lua"
)

// What every peer is asked for. Under the throttled limit a hundred keys gain a
// thousand tokens a second among them: at 50,000 decisions/s, one in fifty.
const keyCount = 100

// drainMost is how often every key is taken before the clock starts: enough to
// empty a bucket of the throttled limit.
const drainMost = 11

var (
	callerCounts = []int{1, 2, 64, 512}
	outcomes     = []struct{ name, limit string }{
		{"admitted", "1000000/s,capacity=1000000000"},
		{"throttled", "10/s,capacity=10"},
	}
)

// BenchmarkTake times one decision, from the call to the answer, of every peer.
// The peers of one cell (callers, outcome) run next to each other; run the
// benchmark several times for rounds. Client and Redis share the machine, so
// figures compare within one run only.
//
//	decisions/s    of all callers together
//	p50-ns p99-ns  of a caller's wait for one decision
//	server-ns      processor time of Redis for one decision, network included
//	admitted-%     100 or next to nothing, by the name of the cell
//	errors-%       calls without a decision
//	excess-tokens  by which the fullest window of any key passes capacity + rate·t:
//	               above 0 the limiter admits too much
func BenchmarkTake(b *testing.B) {
	url := limittest.Redis(b)
	env, err := peers.Dial(url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(env.Close)
	for _, outcome := range outcomes {
		l, err := limit.Parse(outcome.limit)
		if err != nil {
			b.Fatal(err)
		}
		for _, callers := range callerCounts {
			for _, peer := range peers.All() {
				b.Run(cell(peer.Name, callers, outcome.name), func(b *testing.B) {
					(&contest{env: env, peer: peer, limit: l, callers: callers}).run(b)
				})
			}
		}
		b.Run(cell("redis-benchmark-P64", benchmarkInFlight, outcome.name), func(b *testing.B) {
			redisBenchmark(b, env, url, l)
		})
	}
}

func cell(peer string, callers int, outcome string) string {
	return fmt.Sprintf("peer=%s/callers=%d/outcome=%s", peer, callers, outcome)
}

// A contest is one cell of one peer.
type contest struct {
	env     *peers.Env
	peer    peers.Peer
	limit   limit.Limit
	callers int
}

// A sample is one decision: when asked and answered, in ns since the start.
type sample struct {
	sent, done int64
	outcome    record.Outcome
}

// attempts gives every attempt its own keys, so that each starts full.
var attempts atomic.Int64

func (c *contest) run(b *testing.B) {
	prefix := fmt.Sprintf("peers:%d:", attempts.Add(1))
	limiter, err := c.peer.Open(c.env, c.limit, prefix)
	if err != nil {
		b.Fatal(err)
	}
	if closer, ok := limiter.(io.Closer); ok {
		defer func() {
			if err := closer.Close(); err != nil {
				b.Error(err)
			}
		}()
	}
	if err := c.env.Redis.FlushDB(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	keys := make([]string, keyCount)
	for i := range keys {
		keys[i] = "key" + strconv.Itoa(i)
	}
	start := time.Now()
	// Before the clock starts every bucket is emptied, as far as it ever will be.
	drain := make([]sample, keyCount*min(c.limit.Capacity+1, drainMost))
	takeAll(limiter, keys, min(c.callers, 16), drain, start)
	samples := make([]sample, b.N)
	cpu := serverCPU(b, c.env.Redis)
	b.ReportAllocs()
	b.ResetTimer()
	takeAll(limiter, keys, c.callers, samples, start)
	b.StopTimer()
	if c.peer.Redis {
		b.ReportMetric((serverCPU(b, c.env.Redis)-cpu)/float64(b.N), "server-ns")
	}
	c.report(b, start, drain, samples, keys)
}

// takeAll shares one take for each sample among callers. Sample i takes from
// key i mod len(keys).
func takeAll(limiter limit.Limiter, keys []string, callers int, samples []sample, start time.Time) {
	ctx := context.Background()
	var next atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(samples)); i = next.Add(1) - 1 {
				s := &samples[i]
				s.sent = int64(time.Since(start))
				d, err := limiter.Take(ctx, keys[i%int64(len(keys))], 1)
				s.done = int64(time.Since(start))
				switch {
				case err != nil:
					s.outcome = record.Failed
				case d.Allowed:
					s.outcome = record.Admitted
				default:
					s.outcome = record.Throttled
				}
			}
		})
	}
	group.Wait()
}

func (c *contest) report(b *testing.B, start time.Time, drain, samples []sample, keys []string) {
	waits := make([]int64, len(samples))
	var count [len(record.Outcomes)]int
	for i, s := range samples {
		waits[i] = s.done - s.sent
		count[s.outcome]++
	}
	slices.Sort(waits)
	quantile := func(q float64) float64 { return float64(waits[int(q*float64(len(waits)-1))]) }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(quantile(0.5), "p50-ns")
	b.ReportMetric(quantile(0.99), "p99-ns")
	b.ReportMetric(100*float64(count[record.Admitted])/float64(b.N), "admitted-%")
	b.ReportMetric(100*float64(count[record.Failed])/float64(b.N), "errors-%")
	b.ReportMetric(c.excess(b, start, keys, drain, samples), "excess-tokens")
}

// excess has the judge look for over-admission. Throttled calls cannot change
// that verdict, so it is given the admitted ones only.
func (c *contest) excess(b *testing.B, start time.Time, keys []string, groups ...[]sample) float64 {
	b.Helper()
	j, err := judge.New(judge.Options{Limit: c.limit, Incomplete: true})
	if err != nil {
		b.Fatal(err)
	}
	epoch := start.UnixNano()
	batch := make([]record.Record, 0, 4096)
	for _, samples := range groups {
		for i, s := range samples {
			if s.outcome == record.Admitted {
				batch = append(batch, record.Record{
					Key: keys[i%len(keys)], Cost: 1, Outcome: record.Admitted, Status: 200, Quota: record.NoQuota,
					Planned: epoch + s.sent, Sent: epoch + s.sent, Done: epoch + s.done,
				})
			}
			if len(batch) == cap(batch) || i == len(samples)-1 {
				if err := j.Add(batch); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
		}
	}
	return j.Verdict().OverAdmission.ExcessTokens
}

// serverCPU is the processor time that Redis has used, in ns.
func serverCPU(b *testing.B, rdb redis.UniversalClient) float64 {
	b.Helper()
	info, err := rdb.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	used := 0.0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "used_cpu_user" && name != "used_cpu_sys" {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatalf("read INFO cpu %q: %v", line, err)
		}
		used += 1e9 * seconds
	}
	return used
}

// benchmarkInFlight is how many calls redis-benchmark has in flight: its usual
// 50 connections of 64 pipelined calls.
const benchmarkInFlight = 50 * 64

// redisBenchmark has redis-benchmark call our script for one key: what the
// server does when a client in C leaves it no pause. b.N is a part of what it
// sends, since it takes time to start.
func redisBenchmark(b *testing.B, env *peers.Env, url string, l limit.Limit) {
	program, err := exec.LookPath("redis-benchmark")
	if err != nil {
		b.Skip("redis-benchmark is not in PATH")
	}
	sha, err := redis.NewScript(lua.TokenBucket).Load(b.Context(), env.Redis).Result()
	if err != nil {
		b.Fatal(err)
	}
	socket, _, _ := strings.Cut(strings.TrimPrefix(url, "unix://"), "?")
	n := max(b.N, 10*benchmarkInFlight)
	cpu := serverCPU(b, env.Redis)
	out, err := exec.CommandContext(b.Context(), program, "-s", socket, "-P", "64", "-c", "50", "-n", strconv.Itoa(n), "--csv",
		"evalsha", sha, "1", fmt.Sprintf("peers:%d:key", attempts.Add(1)),
		strconv.FormatInt(l.Rate.Tokens, 10), strconv.FormatInt(l.Rate.Seconds, 10), strconv.FormatInt(l.Capacity, 10), "1").Output()
	if err != nil {
		b.Fatalf("redis-benchmark: %v", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 {
		b.Fatalf("redis-benchmark printed %q: %v", out, err)
	}
	column := func(name string) float64 {
		i := slices.Index(rows[0], name)
		if i < 0 || i >= len(rows[1]) {
			b.Fatalf("redis-benchmark printed no %s: %q", name, out)
		}
		x, err := strconv.ParseFloat(rows[1][i], 64)
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	b.ReportMetric(column("rps"), "decisions/s")
	b.ReportMetric(1e9/column("rps"), "ns/op")
	b.ReportMetric(1e6*column("p50_latency_ms"), "p50-ns")
	b.ReportMetric(1e6*column("p99_latency_ms"), "p99-ns")
	b.ReportMetric((serverCPU(b, env.Redis)-cpu)/float64(n), "server-ns")
}
