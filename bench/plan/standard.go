package plan

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"weir/api/limit"
)

// An Entry is one plan of a suite, with what it needs around it.
type Entry struct {
	Plan      Plan              // complete but for its targets, see At
	Paths     []string          // routes of the limited API to ask, e.g. "/items"
	API       map[string]string // settings of the limited API, but for where it listens and which Redis it uses
	Processes int               // API processes that share one Redis
	Scenario  string            // the k6 scenario that offers the load; "" when weir does
}

// The durations of one plan in the two lengths of the suite. The whole suite
// takes about three minutes, or with quick less than one.
const (
	fullLength  = 17 * time.Second
	quickLength = 4 * time.Second
)

// standard is the suite that `weir run` carries out. Every question is asked of
// fresh buckets. 100/s with a burst of 100 is slow enough that two busy cores
// offer ten times as much without effort, and fast enough that each second adds
// a hundred decisions to the evidence.
var standard = []struct {
	name, question string
	shape, limit   string
	keys           Keys
	paths          []string
	processes      int
	scenario       string
	full, quick    time.Duration // 0: fullLength, quickLength
	catchUp        time.Duration // 0: see Plan.CatchUp
}{
	{
		name: "steady", question: "Is everybody admitted who stays below the limit?",
		// Random arrivals at four fifths of the rate: the bucket dips but never empties. Nor does it
		// when requests are late, since the bucket gains meanwhile more than they will take.
		shape: "poisson:80/s", limit: "100/s,capacity=100", catchUp: time.Second,
	},
	{
		name: "overload", question: "At ten times the limit, is exactly the limit admitted?",
		shape: "constant:1000/s", limit: "100/s,capacity=100",
	},
	{
		name: "burst", question: "After idling, is one full bucket admitted at once, and no more?",
		// Two idle seconds earn 200 tokens, of which the bucket holds 100.
		shape: "burst:200@2s", limit: "100/s,capacity=100", quick: 5 * time.Second,
	},
	{
		name: "ramp", question: "As the load climbs through the limit, does throttling begin when the bucket is empty?",
		shape: "ramp:10/s-300/s", limit: "100/s,capacity=50", quick: 5 * time.Second,
	},
	{
		name: "many-keys", question: "Does each of 1,000 clients get its own limit, whatever the busy ones do?",
		shape: "constant:800/s", limit: "5/s,capacity=10", keys: Keys{Count: 1000, Spread: Zipf}, quick: 5 * time.Second,
	},
	{
		name: "window-edge", question: "Can a client get twice its limit around the edge of a second?",
		// A limiter that counts by the wall clock's seconds admits both halves of each pair.
		// The bucket needs the second between two pairs to fill again.
		shape: "edge:100@2s", limit: "100/s,capacity=100", quick: 5 * time.Second,
	},
	{
		name: "cost", question: "What does the limiter add to a request's latency?",
		// The limit is never reached: /items differs from /free by the decision alone.
		shape: "constant:1000/s", limit: "1000000/s,capacity=1000000", paths: []string{"/items", "/free"},
	},
	{
		name: "shared", question: "Do two API processes on one Redis keep one limit for one key?",
		shape: "constant:600/s", limit: "100/s,capacity=100", processes: 2,
	},
	{
		name: "k6-polite", question: "Is a client that waits as long as Retry-After says admitted when it returns?",
		shape: "users:1", limit: "5/s,capacity=20", scenario: "polite", full: 10 * time.Second,
	},
	{
		name: "k6-spike", question: "Is a client served again as soon as its spike is over?",
		shape: "step:25/s,500/s,25/s", limit: "50/s,capacity=50", scenario: "spike", full: 15 * time.Second, quick: 4500 * time.Millisecond,
	},
}

// Standard returns the standard suite: quick or in full, with the seed of every
// plan.
func Standard(seed int64, quick bool) []Entry {
	entries := make([]Entry, len(standard))
	for i, row := range standard {
		promise := must(limit.Parse(row.limit))
		p := Plan{
			Name: row.name, Question: row.question, Seed: seed,
			Duration: cmp.Or(row.full, fullLength),
			Shape:    must(ParseShape(row.shape)),
			Keys:     row.keys,
			Fresh:    true,
			CatchUp:  row.catchUp,
		}
		if row.paths == nil { // other routes promise nothing
			p.Limit, row.paths = &promise, []string{"/items"}
		}
		if quick {
			p.Duration = cmp.Or(row.quick, quickLength)
		}
		p.Keys.Count = max(p.Keys.Count, 1)
		entries[i] = Entry{
			Plan: p, Paths: row.paths, Processes: max(row.processes, 1), Scenario: row.scenario,
			API: settings(promise),
		}
	}
	return entries
}

// Scenario returns the entry of one k6 scenario, e.g. "soak", against a limited
// API with the limit promise. A duration of 0 leaves it to the scenario.
func Scenario(name, question string, promise limit.Limit, duration time.Duration, seed int64) Entry {
	return Entry{
		Plan: Plan{
			Name: "k6-" + name, Question: question, Seed: seed, Duration: duration,
			Limit: &promise, Fresh: true,
		},
		Paths: []string{"/items"}, API: settings(promise), Processes: 1, Scenario: name,
	}
}

// settings make the limited API keep a promise, for keys in our header.
func settings(promise limit.Limit) map[string]string {
	return map[string]string{
		"TB_RATE":     promise.Rate.String(),
		"TB_CAPACITY": strconv.FormatInt(promise.Capacity, 10),
		"KEY_BY":      defaultVia,
	}
}

// At returns the plan aimed at API processes with these base URLs, e.g.
// "http://127.0.0.1:8000": every path of every process in turn.
func (e *Entry) At(bases []string) Plan {
	p := e.Plan
	p.Targets = nil
	for _, path := range e.Paths {
		for _, base := range bases {
			p.Targets = append(p.Targets, Target{Method: http.MethodGet, URL: base + path})
		}
	}
	return p
}

// must is for texts in this file, which a test parses.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
