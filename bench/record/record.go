// Package record keeps what happened: one [Record] for each request of a run.
//
// Records on disk are the interface between the programs of weir. Attack and k6
// write them; the judge, the report and the live page read them; any of these
// can be replaced alone. They are Parquet segments in the run's folder, one
// closed about every second, so a crash loses at most the last second and
// DuckDB, pandas and polars open the folder as it is.
package record

import (
	"fmt"
	"math"
	"net/http"
	"slices"
)

// An Outcome is how a request ended. Throttled is neither success nor failure.
type Outcome uint8

// The three outcomes. A Failed request got no usable answer (5xx, timeout,
// broken connection, a status that does not tell): whether the limiter charged
// it is unknown.
const (
	Failed Outcome = iota
	Admitted
	Throttled
)

// Outcomes lists the outcomes in the order in which they are shown.
var Outcomes = [...]Outcome{Admitted, Throttled, Failed}

var outcomeNames = [...]string{Failed: "failed", Admitted: "admitted", Throttled: "throttled"}

// String returns "admitted", "throttled" or "failed".
func (o Outcome) String() string { return outcomeNames[o] }

// ParseOutcome is the reverse of String.
func ParseOutcome(name string) (Outcome, error) {
	switch name { // not a search: a reader asks for every record
	case "admitted":
		return Admitted, nil
	case "throttled":
		return Throttled, nil
	case "failed":
		return Failed, nil
	}
	return Failed, fmt.Errorf("unknown outcome %q (want admitted, throttled or failed)", name)
}

// OutcomeOf classifies an answer by its status: 2xx and 3xx are admitted, the
// throttle statuses (429 when none are given) throttled, all else failed. A
// status of 0 means no answer.
func OutcomeOf(status int, throttle ...int) Outcome {
	if len(throttle) == 0 && status == http.StatusTooManyRequests {
		return Throttled
	}
	if slices.Contains(throttle, status) {
		return Throttled
	}
	if status >= 200 && status < 400 {
		return Admitted
	}
	return Failed
}

// A Record is one request as it happened. Instants are nanoseconds since the
// Unix epoch, read from one monotonic clock for all records of a segment.
//
// The latency a user feels is Done − Planned, service time is Done − Sent, send
// lag is Sent − Planned.
type Record struct {
	Seq     uint64 // position in the attack, from 0
	Plan    string // name of the plan, e.g. "overload"
	Key     string // whose bucket, as the plan sent it; "" when the plan sends none
	Target  string // method and URL, e.g. "GET http://127.0.0.1:8000/items"
	Cost    int64  // tokens the request takes, usually 1
	Planned int64  // when the plan wanted it; equal to Sent in a closed loop
	Sent    int64  // when its first byte left
	Done    int64  // when its answer was whole, or given up
	Status  int    // HTTP status; 0 when there was no answer
	Outcome Outcome
	Error   string // why it failed, without addresses or ports that differ per request; "" if answered
	Written int64  // bytes of the request's body
	Read    int64  // bytes of the answer's body
	Quota   Quota
}

// Latency is what a user feels, in nanoseconds: from planned to done.
func (r *Record) Latency() int64 { return r.Done - r.Planned }

// A Quota is what the answer's headers said of the limit. A field that the
// answer did not carry is NaN, DecidedAt then is 0.
type Quota struct {
	DecidedAt  int64   // X-RateLimit-Decided-At: µs since the epoch, by the limiter's clock
	Limit      float64 // X-RateLimit-Capacity, X-RateLimit-Limit, RateLimit-Limit: tokens
	Rate       float64 // X-RateLimit-Rate: tokens per second
	Remaining  float64 // X-RateLimit-Remaining, RateLimit-Remaining: tokens
	Reset      float64 // X-RateLimit-Reset, RateLimit-Reset: as sent; its meaning differs between APIs
	RetryAfter float64 // Retry-After: seconds; an HTTP date is made relative to the answer
	FieldLeft  float64 // RateLimit r=: tokens, of the policy with the fewest left
	FieldReset float64 // RateLimit t=: seconds
	Quota      float64 // RateLimit-Policy q=: tokens, of the same policy
	Window     float64 // RateLimit-Policy w=: seconds
}

// NoQuota is the Quota of an answer without any such header.
var NoQuota = Quota{
	Limit: math.NaN(), Rate: math.NaN(), Remaining: math.NaN(), Reset: math.NaN(), RetryAfter: math.NaN(),
	FieldLeft: math.NaN(), FieldReset: math.NaN(), Quota: math.NaN(), Window: math.NaN(),
}
