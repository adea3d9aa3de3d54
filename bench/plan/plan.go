// Package plan says what load to offer: a shape over time, keys to spread it
// over, a target, and the limit that the target promises.
//
// A plan is data. The same plan with the same seed asks for the same requests
// at the same instants with the same keys; package attack offers it.
package plan

import (
	"time"

	"weir/api/limit"
)

// A Plan is the load of one attack.
type Plan struct {
	Name     string        `json:"name"`     // short, a folder name, e.g. "overload"
	Question string        `json:"question"` // the one thing it finds out
	Seed     int64         `json:"seed"`
	Duration time.Duration `json:"duration_ns"`
	Shape    Shape         `json:"shape"` // as text, e.g. "constant:500/s"
	Keys     Keys          `json:"keys"`
	Targets  []Target      `json:"targets"` // taken in turn; at least one

	// Limit is what the target promises each key; nil when nothing is promised
	// and so nothing can be judged.
	Limit *limit.Limit `json:"limit,omitempty"`
	// Cost is the tokens one request takes; 0 means 1.
	Cost int64 `json:"cost,omitempty"`
	// Fresh says that every key's bucket is full when the plan starts.
	Fresh bool `json:"fresh,omitempty"`
	// ThrottleStatus are the statuses that mean throttled; none means 429.
	ThrottleStatus []int `json:"throttle_status,omitempty"`
	// Timeout of one request; 0 means 10 s.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// CatchUp is how late a planned request may still be sent; a later one is
	// dropped and counted, so that a late generator does not send a burst that
	// nobody planned. 0 means 10 ms (bursts: a tenth of their period; edges: their
	// distance from the edge), negative means never drop.
	CatchUp time.Duration `json:"catch_up_ns,omitempty"`
	// Workers bounds the requests in flight; 0 means 10,000 for open shapes, 32 for max.
	Workers int `json:"workers,omitempty"`
}

// A Target is one request to send.
type Target struct {
	Method string              `json:"method"` // e.g. "GET"
	URL    string              `json:"url"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"`
}

// Keys says how many clients the load plays and how the API can tell them apart.
type Keys struct {
	// Count of distinct keys; 0 means that no key is sent.
	Count int `json:"count,omitempty"`
	// Spread is how requests fall on keys: "uniform" (the default), "turn"
	// (round robin) or "zipf" (a few keys get most of the load).
	Spread string `json:"spread,omitempty"`
	// Via is how a key is sent: "header:X-API-Key" (the default), "query:key",
	// or "source" (a loopback source address for each key).
	Via string `json:"via,omitempty"`
}
