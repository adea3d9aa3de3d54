package attack

import (
	"context"
	"sync"
	"time"

	"weir/bench/plan"
	"weir/bench/record"
)

// A Caller sends requests whose instants are chosen one after the other, each
// from what the last answers told, where an attack's are all planned beforehand.
// It keeps one clock and its connections from call to call. It is for one
// goroutine.
type Caller struct {
	plan     *plan.Plan
	clock    clock
	requests []request
	seq      uint64
}

// A Call is one request to come.
type Call struct {
	At     int64  // when to send it, in ns by the Caller's clock; what is past is sent at once
	Target int    // which of the plan's targets
	Source string // the address to send from; "" for any
}

// NoTarget is the Target of a call that only waits for its instant. It has no record.
const NoTarget = -1

// NewCaller makes the plan's targets ready; its shape and keys are not used.
// When ctx is done, what is in flight is given up.
func NewCaller(ctx context.Context, p *plan.Plan, config Config) (*Caller, error) {
	if !config.AllowRemote {
		if err := CheckLoopback(ctx, p); err != nil {
			return nil, err
		}
	}
	requests, err := prepare(p)
	if err != nil {
		return nil, err
	}
	c := &Caller{plan: p, clock: newClock(), requests: requests}
	exchanges := newExchanges(ctx, c.clock, p, config)
	for i := range requests {
		requests[i].way = plan.ViaSource
		requests[i].via = exchanges.of(&requests[i])
	}
	return c, nil
}

// Now is the instant by the clock of the records.
func (c *Caller) Now() int64 { return c.clock.now() }

// Warm makes connections for n requests at once.
func (c *Caller) Warm(n int) {
	r := &c.requests[0]
	if fast, ok := r.via.(*fastExchange); ok {
		fast.mu.Lock()
		kept := len(fast.idle[route{address: r.address}])
		fast.mu.Unlock()
		fast.warm(r, min(n, maxWarm)-kept)
	}
}

// Do sends the calls, which are in the order of their instants, waits for all
// answers, and returns their records in the same order. When ctx is done, calls
// still to come are left out.
func (c *Caller) Do(ctx context.Context, calls []Call) []record.Record {
	records := make([]record.Record, 0, len(calls)) // never grows: the requests in flight write into it
	var flying sync.WaitGroup
	for _, call := range calls {
		if c.wait(ctx, call.At) != nil {
			break
		}
		if call.Target == NoTarget {
			continue
		}
		records = records[:len(records)+1]
		r, rec := &c.requests[call.Target], &records[len(records)-1]
		*rec = record.Record{
			Seq: c.seq, Plan: c.plan.Name, Key: call.Source, Target: r.label, Cost: c.plan.TokenCost(),
			Planned: max(call.At, c.clock.now()), Written: int64(len(r.target.Body)), Quota: record.NoQuota,
		}
		c.seq++
		flying.Go(func() {
			r.via.do(r, call.Source, rec.Seq, rec)
			if rec.Error == "" {
				rec.Outcome = record.OutcomeOf(rec.Status, c.plan.ThrottleStatus...)
			}
		})
	}
	flying.Wait()
	return records
}

// wait waits for an instant, to within some microseconds.
func (c *Caller) wait(ctx context.Context, at int64) error {
	if left := at - c.clock.now() - int64(lead); left > 0 {
		timer := time.NewTimer(time.Duration(left))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	if left := at - c.clock.now(); left > 0 && ctx.Err() == nil {
		sleepExactly(time.Duration(left))
	}
	return ctx.Err()
}
