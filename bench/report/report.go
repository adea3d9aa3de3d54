// Package report tells a person what a run found: a text table, report.md,
// report.json, one self-contained report.html, plots as SVG, vegeta's own
// plot.html, and benchmarks.txt for benchstat.
//
//	r, err := report.Write(ctx, folder, verdicts, bar)
//
// All of them are views of one [Report], which [Build] makes from the run's
// manifest, its records and the judge's verdicts. Nothing in a report is made
// up: what was not recorded is said to be missing, and a run that nobody judged
// says "not judged" where the verdict would be.
package report

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"weir/bench/judge"
	"weir/bench/run"
)

// Schema is the version of report.json, and grows when a reader of an older one
// would misread it.
const Schema = 1

// NotJudged is the verdict of what no judge has looked at.
const NotJudged = "not judged"

// A Report is a run as numbers and sentences, and the form of report.json.
// Durations are nanoseconds, rates per second, times of series seconds after
// the plan started; a missing number is null.
type Report struct {
	Schema   int          `json:"schema"`
	Verdict  string       `json:"verdict"`  // the worst of the plans' verdicts, or NotJudged
	Sentence string       `json:"sentence"` // for a person
	Run      run.Manifest `json:"run"`
	Name     string       `json:"name"` // the folder's name
	Plans    []Plan       `json:"plans"`

	Files []string `json:"-"` // paths of what Write wrote, report.html first
}

// A Plan is one attack.
type Plan struct {
	Name      string           `json:"name"`
	Question  string           `json:"question"`
	Engine    string           `json:"engine"`
	Load      string           `json:"load"`              // e.g. "constant:500/s for 10 s, 1,000 keys (zipf)"
	Limit     string           `json:"limit,omitempty"`   // e.g. "5/s,capacity=20"; "" when nothing was promised
	Error     string           `json:"error,omitempty"`   // why it ended early
	Damaged   []string         `json:"damaged,omitempty"` // records that could not be read
	Elapsed   time.Duration    `json:"elapsed_ns"`        // first request to last answer
	Verdict   judge.Verdict    `json:"verdict"`
	Sentence  string           `json:"sentence"` // the verdict's, for a place that shows the verdict itself
	Witness   *Witness         `json:"witness,omitempty"`
	Counts    run.Counts       `json:"counts"`
	Redis     *run.CommandCost `json:"redis,omitempty"` // nil where the store does not say
	Records   int64            `json:"records"`
	Outcomes  []Outcome        `json:"outcomes"` // admitted, throttled, failed
	SendLag   Quantiles        `json:"send_lag"`
	Gaps      Gaps             `json:"gaps"`
	KeyCount  int              `json:"key_count"`
	Keys      []Key            `json:"keys"` // the busiest first; the last may stand for all others
	Targets   []Target         `json:"targets"`
	Slower    []Slower         `json:"slower,omitempty"`
	Errors    []Error          `json:"errors"`
	Waits     []Wait           `json:"retry_after"`
	NoWait    int64            `json:"throttled_without_retry_after"`
	PerSecond PerSecond        `json:"per_second"`
	Admitted  *Cumulative      `json:"admitted_busiest_key,omitempty"` // against the limit of one key
	Sum       *Cumulative      `json:"admitted_all_keys,omitempty"`    // against the limits of all keys; nil for one key
	Latency   Latency          `json:"latency"`
	Shares    Shares           `json:"percentiles"`

	samples []sample
	started int64 // ns since the epoch
}

// An Outcome is what is known of the requests that ended one way.
type Outcome struct {
	Name    string    `json:"name"`
	Count   int64     `json:"count"`
	Share   float64   `json:"share"` // of all recorded, 0 to 1
	Rate    Spread    `json:"per_second"`
	Latency Quantiles `json:"latency"` // done − planned
	Service Quantiles `json:"service"` // done − sent
	HDR     string    `json:"latency_hdr,omitempty"`
}

// Quantiles sum up a histogram of durations.
type Quantiles struct {
	Count int64         `json:"count"`
	Min   time.Duration `json:"min_ns"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

// A Spread describes a rate over the whole seconds of an attack.
type Spread struct {
	Seconds int     `json:"steps"` // how many whole steps of the timeline it rests on
	Mean    float64 `json:"mean"`
	StdDev  float64 `json:"stddev"`
	Min     float64 `json:"min"`
	Median  float64 `json:"median"`
	Max     float64 `json:"max"`
}

// Gaps are the times between neighbouring requests, as sent.
type Gaps struct {
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Max       time.Duration `json:"max_ns"`
	Variation float64       `json:"variation"` // standard deviation / mean: 0 metronome, 1 Poisson, more bursts
}

// A Key is a row of the per-key table.
type Key struct {
	Name      string  `json:"name"`
	Requests  int64   `json:"requests"`
	Admitted  int64   `json:"admitted"`
	Throttled int64   `json:"throttled"`
	Failed    int64   `json:"failed"`
	Rate      float64 `json:"admitted_tokens_per_second"`
	Allowed   float64 `json:"allowed_tokens,omitempty"` // capacity + rate × its time; 0 without a limit
	Tokens    int64   `json:"admitted_tokens"`
	Rest      bool    `json:"rest,omitempty"` // all other keys together
}

// A Target is a row of the per-target table.
type Target struct {
	Name      string    `json:"name"`
	Admitted  int64     `json:"admitted"`
	Throttled int64     `json:"throttled"`
	Failed    int64     `json:"failed"`
	Service   Quantiles `json:"service"` // done − sent, admitted only
}

// Slower says how much longer one target takes than another.
type Slower struct {
	Target   string        `json:"target"`
	Than     string        `json:"than"`
	Quantile float64       `json:"quantile"`
	Median   time.Duration `json:"median_ns"` // of the differences step by step
	Low      time.Duration `json:"low_ns"`    // their quartiles
	High     time.Duration `json:"high_ns"`
	Steps    int           `json:"steps"`
}

// An Error is what went wrong with some failed requests.
type Error struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
}

// A Wait is a Retry-After that throttled requests were given.
type Wait struct {
	Seconds float64 `json:"seconds"`
	Count   int64   `json:"count"`
}

// PerSecond is what happened over time, in requests a second.
type PerSecond struct {
	Step      float64 `json:"step_s"`
	At        Column  `json:"at_s"` // where each step begins
	Planned   Column  `json:"planned"`
	Sent      Column  `json:"sent"`
	Admitted  Column  `json:"admitted"`
	Throttled Column  `json:"throttled"`
	Failed    Column  `json:"failed"`
	Limit     float64 `json:"limit,omitempty"` // refill of all keys, tokens a second; 0 without a limit
}

// Cumulative is the tokens admitted so far against the most that capacity +
// rate·t allows by then.
type Cumulative struct {
	Key       string `json:"key,omitempty"`
	Keys      int    `json:"keys"`
	At        Column `json:"at_s"`
	Admitted  Column `json:"admitted_tokens"`
	Allowed   Column `json:"allowed_tokens,omitempty"`   // empty without a limit
	Remaining Column `json:"remaining_tokens,omitempty"` // fewest that the answers of a step told; empty when none did
}

// Latency is latency over time, done − planned, per outcome, and send lag.
type Latency struct {
	Step      float64 `json:"step_s"`
	At        Column  `json:"at_s"` // where each step begins, by the planned instant
	Admitted  Band    `json:"admitted"`
	Throttled Band    `json:"throttled"`
	Failed    Band    `json:"failed"`
	SendLag   Band    `json:"send_lag"`
}

// A Band is some quantiles over time in nanoseconds; null where nothing happened.
type Band struct {
	P50 Column `json:"p50_ns"`
	P95 Column `json:"p95_ns"`
	P99 Column `json:"p99_ns"`
	Max Column `json:"max_ns"`
}

// Shares are the latency percentiles on HDR's scale: at Over = 1/(1 − q), ten
// is the 90th, a hundred the 99th percentile.
type Shares struct {
	Over      Column `json:"over"`
	Admitted  Column `json:"admitted_ns"`
	Throttled Column `json:"throttled_ns"`
	Failed    Column `json:"failed_ns"`
}

// A sample is one request kept for vegeta's plot.
type sample struct {
	sent    int64
	latency time.Duration
	status  int
	outcome string
}

// A Column is a series of numbers; NaN is a missing one.
type Column []float64

// MarshalJSON writes whole numbers in full, others to six digits, and NaN as null.
func (c Column) MarshalJSON() ([]byte, error) {
	text := make([]byte, 0, 2+6*len(c))
	text = append(text, '[')
	for i, x := range c {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendNumber(text, x)
	}
	return append(text, ']'), nil
}

func appendNumber(text []byte, x float64) []byte {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return append(text, "null"...)
	case x == math.Trunc(x) && math.Abs(x) < 1<<53:
		return strconv.AppendInt(text, int64(x), 10)
	}
	return strconv.AppendFloat(text, x, 'g', 6, 64)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Column) UnmarshalJSON(text []byte) error {
	var numbers []*float64
	if err := json.Unmarshal(text, &numbers); err != nil {
		return err
	}
	*c = make(Column, len(numbers))
	for i, x := range numbers {
		(*c)[i] = math.NaN()
		if x != nil {
			(*c)[i] = *x
		}
	}
	return nil
}
