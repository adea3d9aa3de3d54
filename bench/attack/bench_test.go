package attack

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"weir/bench/record"
)

// benchServer answers like a limited API, as cheaply as a Go server can.
func benchServer(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.Set("X-RateLimit-Remaining", "4.25")
		ctx.SetBodyString(`{"ok":true,"ts":1790000000}`)
	}}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Shutdown() })
	return "http://" + listener.Addr().String() + "/items"
}

const benchWorkers = 32

// bareVegeta is what a user of vegeta's library writes: its Attacker with
// net/http, as fast as it goes, results drained.
func bareVegeta(url string, length time.Duration) (hits int) {
	attacker := vegeta.NewAttacker(vegeta.Workers(benchWorkers), vegeta.MaxWorkers(benchWorkers), vegeta.Redirects(vegeta.NoFollow))
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: url})
	for range attacker.Attack(target, vegeta.ConstantPacer{}, length, "bare") {
		hits++
	}
	return hits
}

// recorded is the same load offered by weir, with keys, and every record
// written to disk.
func recorded(b *testing.B, url string, length time.Duration) int {
	p := aPlan(b, url)
	p.Shape, p.Duration, p.Workers = shape(b, "max"), length, benchWorkers
	p.Keys.Count = 1000
	writer, err := record.Create(b.TempDir())
	require.NoError(b, err)
	done, err := Run(context.Background(), p, Config{Sink: writer.Append})
	require.NoError(b, err)
	require.NoError(b, writer.Close())
	return int(done.Counts.Done)
}

// BenchmarkMax compares, in one process and by turns, weir with records on and a
// bare loop over vegeta's library. Server and client share the machine, so only
// the ratio means something. One op is half a second of each.
func BenchmarkMax(b *testing.B) {
	url := benchServer(b)
	const length = 500 * time.Millisecond
	bareVegeta(url, length/5)
	bare, weir := 0, 0
	var bareTime, weirTime time.Duration
	for range b.N {
		start := time.Now()
		bare += bareVegeta(url, length)
		bareTime += time.Since(start)
		start = time.Now()
		weir += recorded(b, url, length)
		weirTime += time.Since(start) // with closing the segments
	}
	bareRate, weirRate := float64(bare)/bareTime.Seconds(), float64(weir)/weirTime.Seconds()
	b.ReportMetric(bareRate, "vegeta-hits/s")
	b.ReportMetric(weirRate, "weir-hits/s")
	b.ReportMetric(weirRate/bareRate, "ratio")
	b.ReportMetric(0, "ns/op") // the length of an op is given
}

// BenchmarkOpen offers 10,000/s for a second an op, and says how late it was.
func BenchmarkOpen(b *testing.B) {
	url := benchServer(b)
	for range b.N {
		p := aPlan(b, url)
		p.Shape, p.Duration = shape(b, "constant:10000/s"), time.Second
		p.CatchUp = 0
		done, err := Run(context.Background(), p, Config{Sink: func([]record.Record) error { return nil }})
		require.NoError(b, err)
		b.ReportMetric(float64(done.Counts.Late)/float64(done.Counts.Planned), "late-part")
		b.ReportMetric(float64(done.Counts.Dropped)/float64(done.Counts.Planned), "dropped-part")
	}
}

// BenchmarkExchange is one request over each way, without vegeta.
func BenchmarkExchange(b *testing.B) {
	url := benchServer(b)
	for name, onlyStd := range map[string]bool{"fast": false, "nethttp": true} {
		b.Run(name, func(b *testing.B) {
			p := aPlan(b, url)
			a, err := newAttack(p, Config{onlyStd: onlyStd})
			require.NoError(b, err)
			defer a.abort()
			r := &a.hitter.requests[0]
			b.ReportAllocs()
			for b.Loop() {
				rec := record.Record{}
				r.via.do(r, "", 1, &rec)
				if rec.Status != http.StatusOK {
					b.Fatal(rec.Error)
				}
			}
		})
	}
}

// BenchmarkRender is the text of one request.
func BenchmarkRender(b *testing.B) {
	p := aPlan(b, "http://127.0.0.1:8000/items")
	p.Keys.Count = 1
	requests, err := prepare(p)
	require.NoError(b, err)
	text := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		text = requests[0].appendText(text[:0], "test-0", 1234567)
	}
}

// BenchmarkRecorded is weir's half of BenchmarkMax, to profile.
func BenchmarkRecorded(b *testing.B) {
	url := benchServer(b)
	hits := 0
	for range b.N {
		hits += recorded(b, url, 500*time.Millisecond)
	}
	b.ReportMetric(float64(hits)/b.Elapsed().Seconds(), "hits/s")
	b.ReportMetric(0, "ns/op")
}
