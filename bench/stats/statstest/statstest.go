// Package statstest makes records to test with: requests against a simulated
// token bucket that keeps its promise, over a simulated network. The same
// [Attack] makes the same records every time.
package statstest

import (
	"math"
	"math/rand/v2"
	"time"

	"weir/api/limit"
	"weir/bench/record"
)

// An Attack describes the records to make. Zero fields stand for nothing.
type Attack struct {
	Plan     string
	Start    time.Time
	Duration time.Duration
	Rate     func(t float64) float64 // requests a second at t seconds
	Limit    limit.Limit
	Keys     int      // 0 and 1 are one key, ""; more are spread as Zipf's law
	Targets  []string // taken in turn
	Service  []time.Duration
	Failing  float64 // share of requests that get no answer, 0 to 1
	Seed     uint64
}

// Each calls emit with each record, in the order of their sent instants. The
// record is reused.
func (a *Attack) Each(emit func(*record.Record)) {
	random := rand.New(rand.NewPCG(a.Seed, 1))
	buckets := map[string]limit.State{}
	zipf := rand.NewZipf(random, 1.1, 4, uint64(max(a.Keys-1, 0)))
	start := a.Start.UnixNano()
	step := time.Millisecond.Seconds()
	owed, seq := 0.0, uint64(0)
	for t := 0.0; t < a.Duration.Seconds(); t += step {
		owed += a.Rate(t) * step
		for k := 0; owed >= 1; k++ {
			owed--
			r := record.Record{Seq: seq, Plan: a.Plan, Cost: 1, Quota: record.NoQuota}
			r.Planned = start + int64(t*1e9) + int64(k)
			if a.Keys > 1 {
				r.Key = keyName(zipf.Uint64())
			}
			a.carryOut(&r, random, buckets)
			emit(&r)
			seq++
		}
	}
}

func keyName(n uint64) string {
	return "client-" + string([]byte{byte('0' + n/1000%10), byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

// carryOut sends the request and lets the bucket decide halfway through.
func (a *Attack) carryOut(r *record.Record, random *rand.Rand, buckets map[string]limit.State) {
	service := 200 * time.Microsecond
	if len(a.Targets) > 0 {
		turn := int(r.Seq) % len(a.Targets)
		r.Target = a.Targets[turn]
		if turn < len(a.Service) {
			service = a.Service[turn]
		}
	}
	r.Sent = r.Planned + int64(20e3*random.ExpFloat64())
	if random.Float64() < 0.001 {
		r.Sent += int64(2e6 * random.ExpFloat64())
	}
	decision, state := a.Limit.Take(buckets[r.Key], r.Sent/1000+int64(service)/2000, r.Cost)
	buckets[r.Key] = state
	r.Quota.Remaining = float64(decision.Remaining) / limit.MicroToken
	r.Quota.DecidedAt = decision.DecidedAt
	switch {
	case random.Float64() < a.Failing:
		r.Outcome, r.Error, r.Quota = record.Failed, "timeout: no answer within 10 s", record.NoQuota
		service = 40 * time.Millisecond
	case decision.Allowed:
		r.Outcome, r.Status = record.Admitted, 200
	default:
		r.Outcome, r.Status = record.Throttled, 429
		r.Quota.RetryAfter = math.Max(1, math.Ceil(decision.RetryAfter.Seconds()))
		service = service * 7 / 10
	}
	r.Done = r.Sent + int64(float64(service)*math.Exp(0.35*random.NormFloat64()))
}
