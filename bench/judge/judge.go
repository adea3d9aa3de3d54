// Package judge says whether a limit held, from records alone, and proves it.
package judge

import "time"

// The three verdicts.
const (
	Holds        = "holds"
	Broken       = "broken"
	Inconclusive = "inconclusive"
)

// A Verdict is what the records prove about a limit, with the evidence.
type Verdict struct {
	Verdict  string        `json:"verdict"`  // Holds, Broken or Inconclusive
	Sentence string        `json:"sentence"` // for a person, e.g. "broken: key 10.0.0.7 was admitted 47 in 3.2 s; …"
	Plan     string        `json:"plan"`     // the attack that was judged
	Limit    string        `json:"limit"`    // the promise, e.g. "5/s,capacity=20"
	Elapsed  time.Duration `json:"elapsed_ns"`
}
