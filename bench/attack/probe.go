package attack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

// A probe asks one thing: is Retry-After honest in both directions?
const (
	// probeRounds alternate: a round that waits in silence and asks once, as a
	// polite client does, and one that asks again and again, to see how much
	// earlier it would have been admitted.
	probeRounds = 6
	probeAsks   = 50                   // of an impatient round, at least probePause apart
	probePause  = 5 * time.Millisecond // so that asking is not itself a load
	// probeLate is how long after the promised instant a client asks: a limiter
	// that counts in milliseconds keeps its promise with the next one.
	probeLate = 2 * time.Millisecond
	// probeWait is the longest wait that is waited for.
	probeWait = 30 * time.Second
	// probeSpend is how many requests may go before one is throttled.
	probeSpend = 20_000
)

// Probe sends requests to the plan's first target with its first key, one at a time
// and nothing beside them: until one is throttled, then around the instant that its
// Retry-After promises, six times over. The records tell the judge whether promises
// were kept, and by how much they were too early or too late. It ends early where
// nothing is throttled, or nothing promised.
func Probe(ctx context.Context, p *plan.Plan, config Config) (run.Attack, error) {
	done := run.Attack{Plan: *p, Engine: Engine, Started: time.Now()}
	if !config.AllowRemote {
		if err := CheckLoopback(ctx, p); err != nil {
			return done, err
		}
	}
	requests, err := prepare(p)
	if err != nil {
		return done, err
	}
	b := &prober{plan: p, clock: newClock(), config: config, request: &requests[0], key: p.Chooser().Key(0)}
	b.request.via = newExchanges(ctx, b.clock, p, config).of(b.request)
	for round := range probeRounds {
		if err = b.round(ctx, round%2 == 1); err != nil {
			break
		}
	}
	if errors.Is(err, errNothingToProbe) {
		done.Error, err = err.Error(), nil
	}
	done.Ended, done.Counts = time.Now(), run.Counts{Planned: b.sent, Sent: b.sent, Done: b.sent}
	return done, err
}

var errNothingToProbe = errors.New("nothing to probe")

type prober struct {
	plan    *plan.Plan
	clock   clock
	config  Config
	request *request
	key     string
	sent    int64
}

// round spends the tokens, and then waits for the promised instant: in silence, or
// asking again and again.
func (b *prober) round(ctx context.Context, impatient bool) error {
	last, err := b.spend(ctx)
	if err != nil {
		return err
	}
	promised := time.Duration(last.Quota.RetryAfter * float64(time.Second))
	due := last.Done + int64(promised+probeLate)
	pause := int64(max(promised/probeAsks, probePause))
	for impatient && last.Outcome == record.Throttled && b.clock.now()+pause < due {
		if err := b.sleep(ctx, pause); err != nil {
			return err
		}
		if last, err = b.ask(); err != nil {
			return err
		}
	}
	if last.Outcome == record.Admitted { // earlier than promised: the next round finds less to spend
		return nil
	}
	if err := b.sleep(ctx, due-b.clock.now()); err != nil {
		return err
	}
	_, err = b.ask()
	return err
}

// spend asks until it is throttled, and returns that answer.
func (b *prober) spend(ctx context.Context) (rec record.Record, err error) {
	for range probeSpend {
		if err := ctx.Err(); err != nil {
			return rec, err
		}
		if rec, err = b.ask(); err != nil {
			return rec, err
		}
		switch after := rec.Quota.RetryAfter; {
		case rec.Outcome == record.Failed:
			return rec, fmt.Errorf("%w: a request failed (status %d %s)", errNothingToProbe, rec.Status, rec.Error)
		case rec.Outcome == record.Admitted:
		case math.IsNaN(after):
			return rec, fmt.Errorf("%w: a throttled answer has no Retry-After", errNothingToProbe)
		case after > probeWait.Seconds():
			return rec, fmt.Errorf("%w: Retry-After is %g s, longer than the %v that are waited for", errNothingToProbe, after, probeWait)
		default:
			return rec, nil
		}
	}
	return rec, fmt.Errorf("%w: none of %d requests was throttled", errNothingToProbe, probeSpend)
}

// ask sends one request and hands on its record.
func (b *prober) ask() (record.Record, error) {
	rec := record.Record{
		Seq: uint64(b.sent), Plan: b.plan.Name, Key: b.key, Target: b.request.label, Cost: b.plan.TokenCost(),
		Written: int64(len(b.request.target.Body)), Quota: record.NoQuota,
	}
	b.request.via.do(b.request, rec.Key, rec.Seq, &rec)
	rec.Planned = rec.Sent
	if rec.Error == "" {
		rec.Outcome = record.OutcomeOf(rec.Status, b.plan.ThrottleStatus...)
	}
	b.sent++
	return rec, b.config.Sink([]record.Record{rec})
}

func (b *prober) sleep(ctx context.Context, ns int64) error {
	timer := time.NewTimer(time.Duration(ns))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
