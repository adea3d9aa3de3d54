// Package faults breaks things on purpose and shows what the limiter and the
// harness do then: real processes, real faults under load, judged.
//
// A [Row] is one fault, as data: what runs ([Rig]), what is done when ([Act]),
// and what must show, as proofs over the evidence ([Proof]):
//
//	           at 2 s: kill −9 redis        at 4 s: start it
//	load  ─────────────┬────────────────────────┬─────────────────▶ records
//	                   │◀──────── away ────────▶│                   logs, /metrics
//	                                                                     │
//	                      proofs: what the judge says, statuses, recovery ◀
//
// Each proof is a [Finding]: a claim, holds, broken or inconclusive, and the
// figure that shows it. A fault that cannot be made here (no compiler for the
// stepped clock, no right to mount a small disk) is inconclusive and says why: it
// is never passed over.
//
// Everything is bounded and on loopback; every process that is started is a
// child that the kernel ends with weir (see package stack).
//
// # How charges are counted
//
// Where the question is whether something was charged twice or lost, the limit
// has rate 0 and a capacity that the load cannot use up: then capacity − remaining
// of each bucket, asked over HTTP at the end, is exactly what was charged.
package faults

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/bench/judge"
	"weir/bench/run"
)

// A Row is one fault and what must show.
type Row struct {
	Name  string // e.g. "redis-killed-closed"; names the folder of its records
	Fault string // what is done
	Must  string // what must show
	Long  bool   // takes over 30 s: not in the tests
	// Stalls says that Redis is to miss deadlines: elsewhere that is the machine's doing.
	Stalls bool
	Rig    Rig
	Acts   []Act
	// Do is what is done in place of a load with acts.
	Do     func(*Scene) error
	Proofs []Proof
}

// An Act is one thing done to what runs, at a time since the load began.
type Act struct {
	At   time.Duration
	Name string // for proofs: see [Scene.began] and [Scene.ended]
	Do   func(*Scene) error
}

// A Proof looks at the evidence of a row.
type Proof func(*Scene) Finding

// A Finding is what a proof found. Verdict is one of the judge's words.
type Finding struct {
	Claim   string `json:"claim"`
	Verdict string `json:"verdict"`
	Figure  string `json:"figure"`
}

// found makes a finding: holds or broken.
func found(ok bool, claim, figure string, args ...any) Finding {
	verdict := judge.Holds
	if !ok {
		verdict = judge.Broken
	}
	return Finding{claim, verdict, fmt.Sprintf(figure, args...)}
}

// unclear makes a finding of what cannot be told.
func unclear(claim, why string, args ...any) Finding {
	return Finding{claim, judge.Inconclusive, fmt.Sprintf(why, args...)}
}

// A Result is a row carried out.
type Result struct {
	Name     string    `json:"name"`
	Fault    string    `json:"fault"`
	Must     string    `json:"must"`
	Verdict  string    `json:"verdict"`
	Seconds  float64   `json:"seconds"`
	Findings []Finding `json:"findings"`
}

// worst is the verdict of a row: broken before inconclusive before holds.
func worst(findings []Finding) string {
	verdict := judge.Holds
	for _, f := range findings {
		if f.Verdict == judge.Broken {
			return judge.Broken
		}
		if f.Verdict == judge.Inconclusive {
			verdict = judge.Inconclusive
		}
	}
	if len(findings) == 0 {
		return judge.Inconclusive
	}
	return verdict
}

// Config says with what rows are carried out.
type Config struct {
	Folder *run.Folder   // gets records, logs, faults.md and faults.json
	Weir   string        // the program, for the faults of the harness
	API    string        // the limited API's program
	Stderr io.Writer     // progress
	Soak   time.Duration // how long the soak takes; 0 is DefaultSoak
}

// Select returns the rows whose names begin with one of the given words, all when
// none are given.
func Select(words []string) ([]Row, error) {
	rows := Rows()
	if len(words) == 0 {
		return rows, nil
	}
	for _, word := range words {
		if !slices.ContainsFunc(rows, func(r Row) bool { return strings.HasPrefix(r.Name, word) }) {
			names := make([]string, len(rows))
			for i := range rows {
				names[i] = rows[i].Name
			}
			return nil, fmt.Errorf("no fault %q (want the beginning of one of %s)", word, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(rows, func(r Row) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(r.Name, word) })
	}), nil
}

// Rows are all rows, in the order of the table.
func Rows() []Row {
	return slices.Concat(redisRows(), stateRows(), clusterRows(), clockRows(), apiRows(), clientRows(), harnessRows(), []Row{soakRow()})
}

// Run carries rows out, one after the other, and writes the table after each, so
// that a run cut short has what it found. When ctx is done it returns what there
// is and ctx's error.
func Run(ctx context.Context, rows []Row, config Config) ([]Result, error) {
	var results []Result
	for i := range rows {
		if err := ctx.Err(); err != nil {
			return results, err //nolint:wrapcheck // interrupted: the caller knows the word
		}
		fmt.Fprintf(config.Stderr, "weir: %2d/%d %s: %s\n", i+1, len(rows), rows[i].Name, rows[i].Fault)
		result := Carry(ctx, &rows[i], config)
		results = append(results, result)
		for _, f := range result.Findings {
			if f.Verdict != judge.Holds {
				fmt.Fprintf(config.Stderr, "weir: %s: %s: %s (%s)\n", result.Name, f.Verdict, f.Claim, f.Figure)
			}
		}
		if err := Write(config.Folder, results); err != nil {
			return results, err
		}
	}
	return results, nil
}

// Carry carries one row out. What keeps it from being carried out is a finding.
func Carry(ctx context.Context, row *Row, config Config) Result {
	started := time.Now()
	s := &Scene{ctx: ctx, config: config, row: row, spans: map[string]span{}}
	defer s.close()
	// Absolute, because the processes work there.
	dir, err := filepath.Abs(filepath.Join(config.Folder.Path, "logs", row.Name))
	if s.dir = dir; err == nil {
		err = os.MkdirAll(s.dir, 0o755)
	}
	if err == nil {
		err = s.play() //nolint:contextcheck // the proxy outlives what starts it; close ends it
	}
	findings := s.findings
	switch cannot := (*cannotError)(nil); {
	case asCannot(err, &cannot):
		findings = append(findings, unclear("the fault can be made here", "%s", cannot.why))
	case err != nil:
		findings = append(findings, unclear("the row was carried out", "%v", err))
	default:
		for _, proof := range row.Proofs {
			findings = append(findings, proof(s))
		}
	}
	return Result{
		Name: row.Name, Fault: row.Fault, Must: row.Must, Verdict: worst(findings),
		Seconds: time.Since(started).Seconds(), Findings: findings,
	}
}

// Short leaves out the rows that take over 30 s.
func Short(rows []Row) []Row {
	return slices.DeleteFunc(rows, func(r Row) bool { return r.Long })
}

// WithoutSoak leaves out the soak.
func WithoutSoak(rows []Row) []Row {
	return slices.DeleteFunc(rows, func(r Row) bool { return r.Name == soakRow().Name })
}
