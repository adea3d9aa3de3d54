package live

import (
	"flag"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/record"
)

var benchRate = flag.Int("bench-rate", 10_000, "requests a second of BenchmarkSecond")

// BenchmarkSecond is what the page costs its server in one second of an attack
// of 10,000 requests/s, beyond the attack itself: counting the records, four ticks,
// one set of tables, half a running verdict, and the events to one browser's ring.
// The share of a core is reported as core-%.
func BenchmarkSecond(b *testing.B) {
	promise, err := limit.Parse("5000/s,capacity=5000")
	if err != nil {
		b.Fatal(err)
	}
	s := newSession(b.Context(), &Config{}, newHub())
	m := newMeter(0, noLoad)
	judged := &bench{limit: promise, plan: "live"}
	records := make([]record.Record, *benchRate)
	keys := []string{"live-00", "live-01", "live-12", "live-29", "live-55"}
	now := int64(0)
	for b.Loop() {
		for i := range records {
			done := now + int64(i+1)*int64(time.Second)/int64(len(records))
			records[i] = record.Record{
				Planned: done - 900_000, Sent: done - 850_000, Done: done, Cost: 1, Read: 40, Quota: record.NoQuota,
				Outcome: record.Outcome(1 + i%2), Target: "GET http://127.0.0.1:8000/items", Key: keys[i%len(keys)],
			}
		}
		batches := records
		for len(batches) > 0 {
			n := min(512, len(batches))
			m.add(batches[:n])
			batches = batches[n:]
		}
		for quarter := range 4 {
			m.mu.Lock()
			m.history.advance(now + int64(quarter+1)*int64(250*time.Millisecond))
			m.mu.Unlock()
			s.publishTick(m)
		}
		s.publishTables(m)
		if now/int64(time.Second)%2 == 0 {
			if _, err := judged.judge(m.latest()); err != nil {
				b.Fatal(err)
			}
		}
		now += int64(time.Second)
	}
	b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N), "core-%")
}
