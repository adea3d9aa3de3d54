// Package attack offers a plan to its target and records every request.
//
// Vegeta's Attacker paces the requests and keeps the workers; what a rate limit
// needs and vegeta does not keep is added at its two open ends, the Pacer and
// the http.Client:
//
//		plan.Arrivals ─▶ pacer ─▶ vegeta's ticks ─▶ vegeta's workers ─▶ hitter ─▶ exchange ─▶ target
//		                   │                                              ▲  │
//		                   └────────── the planned instant ───────────────┘  └─▶ batcher ─▶ Sink
//
//	  - The pacer walks the planned instants, waits for each, and hands it on beside
//	    vegeta's tick, so that a record holds planned, sent and done. An arrival that
//	    would leave later than the plan's CatchUp is dropped and counted: a generator
//	    that stalled must not send a burst nobody planned, and so manufacture 429s.
//	  - The hitter is the http.RoundTripper under vegeta's client. It picks key and
//	    target, sends, reads the whole answer, and stamps both ends from one monotonic
//	    clock. Vegeta sees a fixed answer: its own results, in which a 429 is an error
//	    and latency starts where a worker does, are drained unread.
//	  - The batcher hands records to the sink from one goroutine, so that a slow disk
//	    does not hold a worker until seconds of records are waiting.
//
// An open shape is not limited by workers: vegeta starts another whenever all
// are busy, up to the plan's MaxWorkers, and reaching that bound is said in
// [run.Attack.Error]. Memory does not grow with the length of the attack.
//
// Plain HTTP/1.1 goes over connections of this package, whose answers fasthttp
// parses; TLS, HTTP/2, proxies and unix sockets go over net/http. Neither follows
// redirects nor sends a request twice, and both give the same records.
package attack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

// Engine is what [run.Attack.Engine] says of attacks of this package.
const Engine = "vegeta"

const (
	late     = time.Millisecond // a request sent this long after planned is counted as late
	lead     = 2 * time.Millisecond
	maxGrace = 5 * time.Second
)

// A Config says where records go, and how the target is reached.
type Config struct {
	// Sink takes the records about in the order of their answers, from one
	// goroutine. The slice is used again when it returns. An error ends the
	// attack. Required.
	Sink func([]record.Record) error
	// Progress, if set, is told about five times a second how far the attack is,
	// by the goroutine that calls Sink.
	Progress func(Progress)
	// Dial, if set, changes the load while the attack runs.
	Dial *Dial

	AllowRemote bool // targets may be elsewhere than on loopback
	Insecure    bool // certificates are not verified
	HTTP2       bool // HTTP/2, over plain text too

	onlyStd bool // plain HTTP/1.1 takes net/http too: tests compare the two
}

// Progress is how far an attack is.
type Progress struct {
	Elapsed  time.Duration // since the start of the plan
	Counts   run.Counts
	Outcomes [len(record.Outcomes)]int64 // by record.Outcome
}

// Run offers a plan and returns when every request is done. What it returns
// describes the attack also when there is an error, and then every record made
// until then has been given to the sink.
//
// When ctx is done nothing new is sent; requests in flight have their timeout, at
// most 5 s, to end. The error then is ctx's.
func Run(ctx context.Context, p *plan.Plan, config Config) (run.Attack, error) {
	done := run.Attack{Plan: *p, Engine: Engine}
	if err := p.Validate(); err != nil {
		return done, err
	}
	if !config.AllowRemote {
		if err := CheckLoopback(ctx, p); err != nil {
			return done, err
		}
	}
	a, err := newAttack(p, config) //nolint:contextcheck // what is in flight outlives ctx by a grace
	if err != nil {
		return done, err
	}
	if err := a.run(ctx); err != nil {
		done.Error = err.Error()
		if errors.Is(err, context.Canceled) {
			done.Error = "interrupted"
		}
		done.Started, done.Ended, done.Counts = a.clock.time(a.start), time.Now(), a.counts.snapshot()
		return done, err
	}
	done.Started, done.Ended, done.Counts = a.clock.time(a.start), time.Now(), a.counts.snapshot()
	if a.pacer.full {
		done.Error = fmt.Sprintf("all %d workers were busy: arrivals had to wait or were dropped (want more workers, or a shorter timeout)", p.MaxWorkers())
	}
	return done, nil
}

// An attack is one plan being offered.
type attack struct {
	plan    *plan.Plan
	clock   clock
	start   int64 // ns since the epoch: planned instants count from here
	counts  counts
	pacer   *pacer
	hitter  *hitter
	batcher *batcher
	dial    *Dial              // nil when nobody changes the load
	abort   context.CancelFunc // gives up what is in flight
}

func newAttack(p *plan.Plan, config Config) (*attack, error) {
	ctx, abort := context.WithCancel(context.Background())
	a := &attack{plan: p, clock: newClock(), abort: abort, dial: config.Dial}
	a.batcher = newBatcher(config.Sink)
	if config.Progress != nil {
		a.batcher.tell = func() {
			config.Progress(Progress{
				Elapsed: time.Duration(a.clock.now() - a.start), Counts: a.counts.snapshot(), Outcomes: a.counts.byOutcome(),
			})
		}
	}
	requests, err := prepare(p)
	if err != nil {
		return nil, err
	}
	a.hitter = &hitter{
		plan: p, clock: a.clock, counts: &a.counts, keys: p.Chooser(), requests: requests, batcher: a.batcher,
		reply: &http.Response{StatusCode: http.StatusOK, Body: http.NoBody},
	}
	for i := range requests {
		requests[i].via = newExchanges(ctx, a.clock, p, config).of(&requests[i])
	}
	return a, nil
}

// run carries the attack out.
func (a *attack) run(ctx context.Context) error {
	defer a.abort()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.warm() //nolint:contextcheck // likewise
	a.start = a.clock.now() + int64(lead)
	if align := int64(a.plan.Shape.Align()); align > 0 {
		a.start += align - a.start%align
	}
	a.pacer = newPacer(ctx, a)
	defer a.pacer.stop()
	a.hitter.pacer = a.pacer

	a.batcher.fail = cancel
	delivered := make(chan error, 1)
	go func() { delivered <- a.batcher.deliver() }()
	stopGrace := context.AfterFunc(ctx, func() {
		time.AfterFunc(min(a.plan.RequestTimeout(), maxGrace), a.abort)
	})
	defer stopGrace()

	workers := uint64(a.plan.MaxWorkers())
	if a.dial != nil && a.plan.Shape.Closed() {
		workers = max(workers, uint64(a.dial.MaxUsers))
	}
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{Transport: a.hitter}),
		vegeta.MaxWorkers(workers), vegeta.Workers(a.firstWorkers()), vegeta.MaxBody(0),
	)
	// The pacer ends the attack, so vegeta needs no duration of its own.
	for range attacker.Attack(a.hitter.target, a.pacer, 0, a.plan.Name) { // drained: the hitter makes the records
	}
	a.batcher.close()
	if err := <-delivered; err != nil {
		return fmt.Errorf("keep records: %w", err)
	}
	return ctx.Err()
}

// maxWarm is how many connections to each target are made before the start.
const maxWarm = 512

// warm connects beforehand, so that a first burst is not held up by handshakes.
// What goes wrong here goes wrong again, and is recorded, when it matters.
func (a *attack) warm() {
	at := min(a.plan.Shape.Burst(), maxWarm)
	if a.plan.Shape.Closed() {
		at = min(a.plan.MaxWorkers(), maxWarm)
	}
	for i := range a.hitter.requests {
		r := &a.hitter.requests[i]
		if fast, ok := r.via.(*fastExchange); ok && r.way != plan.ViaSource {
			fast.warm(r, max(1, at/len(a.hitter.requests)))
		}
	}
}

// firstWorkers is with how many workers vegeta begins: all of a closed shape's,
// a burst's worth of an open one's.
func (a *attack) firstWorkers() uint64 {
	if a.plan.Shape.Closed() {
		return uint64(a.plan.MaxWorkers())
	}
	return uint64(max(vegeta.DefaultWorkers, min(a.plan.Shape.Burst(), a.plan.MaxWorkers())))
}

// counts are [run.Counts] while they grow.
type counts struct {
	planned, dropped, late, sent, done atomic.Int64
	returned                           atomic.Int64 // hits that vegeta has back
	outcomes                           [len(record.Outcomes)]atomic.Int64
}

func (c *counts) snapshot() run.Counts {
	return run.Counts{
		Done: c.done.Load(), Sent: c.sent.Load(), Late: c.late.Load(), Dropped: c.dropped.Load(), Planned: c.planned.Load(),
	}
}

func (c *counts) byOutcome() (n [len(record.Outcomes)]int64) {
	for i := range n {
		n[i] = c.outcomes[i].Load()
	}
	return n
}

// A clock gives nanoseconds since the epoch that never jump: the wall clock is
// read once, and the monotonic clock counts on from there.
type clock struct{ base time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() int64 { return c.base.UnixNano() + int64(time.Since(c.base)) }
func (c clock) time(ns int64) time.Time {
	return c.base.Add(time.Duration(ns - c.base.UnixNano())).Round(0)
}
