// Package guard stands between a request and a limiter whose backend may be
// away: slow, unreachable, restarting or refusing.
//
// A [Guard] gives each take a deadline, counts failures in a [Breaker] that all
// routes of one backend share, and answers by a stated [Policy] when the backend
// does not. The breaker is what makes the policy fast: without it every request
// to a dead backend waits for its deadline first, so that failing open is open
// but slow. With it, a dead backend costs one atomic load a request, and one
// request in each cooldown is let through to see whether it is back:
//
//	closed ──N failures in a row──▶ open ──cooldown over──▶ one probe
//	   ▲                              ▲                       │  │
//	   │                              └───────fails───────────┘  │
//	   └──────────────────────────────────────answers────────────┘
//
// A take that the backend did not answer may have been charged. The guard never
// repeats it.
package guard

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"weir/api/limit"
)

// A Policy says what a request gets while the backend is away.
type Policy uint8

// The policies. The zero Policy is the safe one.
const (
	Closed Policy = iota // refuse: 503 with Retry-After
	Open                 // admit, unlimited
	Local                // decide in this process, by a share of the limit
)

var policyNames = [...]string{Closed: "closed", Open: "open", Local: "local"}

// String returns "closed", "open" or "local".
func (p Policy) String() string { return policyNames[p] }

// ParsePolicy reads what [Policy.String] writes.
func ParsePolicy(text string) (Policy, error) {
	for p, name := range policyNames {
		if text == name {
			return Policy(p), nil
		}
	}
	return Closed, fmt.Errorf("unknown policy %q (want closed, open or local)", text)
}

// A Source says who made an answer.
type Source uint8

// The sources.
const (
	Backend   Source = iota // the limiter answered: the decision is exact
	ByClosed                // the backend is away and the policy refused
	ByOpen                  // the backend is away and the policy admitted; only Allowed is set
	ByLocal                 // the backend is away and this process decided by its share
	Abandoned               // the caller left before the answer: nobody reads it
)

// An Answer is a decision and where it came from.
type Answer struct {
	limit.Decision
	Source Source
	// Err is why the backend gave no answer; nil when Source is Backend.
	Err error
}

// ErrAway is the Err of an answer given without asking the backend, because the
// breaker is open.
var ErrAway = errors.New("backend is away")

// Config tells a [Guard] what to do. Its zero value waits without a deadline
// and refuses while the backend is away.
type Config struct {
	Deadline time.Duration // how long one take may wait for the backend, e.g. 250ms; 0 is for ever
	Policy   Policy
	Local    limit.Limiter // decides under policy Local; see [Share]
}

// A Knower is a limiter that can decide some takes by what it knows, without its
// backend and at once. A guard asks it first: such an answer is as good while the
// backend is away, says nothing about the backend, and needs no deadline, which
// would cost more than the answer.
type Knower interface {
	// TryLocal decides a take, or reports false and has changed nothing.
	TryLocal(key string, cost int64) (limit.Decision, bool)
}

// A Guard is safe for concurrent use.
type Guard struct {
	limiter limit.Limiter
	knower  Knower // the same; nil when it is none
	breaker *Breaker
	config  Config
}

// New guards limiter. Guards over the same backend share one breaker.
func New(limiter limit.Limiter, breaker *Breaker, config Config) *Guard {
	if config.Policy == Local && config.Local == nil {
		panic("guard: policy local without a local limiter")
	}
	knower, _ := limiter.(Knower)
	return &Guard{limiter, knower, breaker, config}
}

// Limit returns the promise of the guarded limiter.
func (g *Guard) Limit() limit.Limit { return g.limiter.Limit() }

// Take asks the backend for cost tokens of key, at least 1, and always answers:
// within the deadline, at once while the breaker is open.
func (g *Guard) Take(ctx context.Context, key string, cost int64) Answer {
	if g.knower != nil {
		if decision, known := g.knower.TryLocal(key, cost); known {
			return Answer{Decision: decision}
		}
	}
	if !g.breaker.admit() {
		return g.away(ctx, key, cost, ErrAway)
	}
	decision, err := g.ask(ctx, key, cost)
	switch {
	case err == nil:
		g.breaker.succeeded()
		return Answer{Decision: decision}
	case ctx.Err() != nil:
		// The caller left. That says nothing about the backend; if this was the
		// probe, the next one comes after another cooldown.
		return Answer{Source: Abandoned, Err: err}
	}
	g.breaker.failed(err)
	return g.away(ctx, key, cost, err)
}

// ask is one take under the deadline.
func (g *Guard) ask(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if g.config.Deadline <= 0 {
		return g.limiter.Take(ctx, key, cost)
	}
	timed, cancel := context.WithTimeout(ctx, g.config.Deadline)
	defer cancel()
	take := g.limiter.Take
	if g.breaker.Away() {
		take = g.probe
	}
	decision, err := take(timed, key, cost)
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", g.config.Deadline, err)
	}
	return decision, err
}

// probe is a take that returns at ctx's end whatever the limiter does. A probe
// often is the first on a new connection to a backend that is half there, and one
// to a stopped Redis was seen to wait until it went on: 2 s where 250 ms were set.
// There is one probe in a cooldown; the others save the goroutine.
func (g *Guard) probe(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	type answer struct {
		decision limit.Decision
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		decision, err := g.limiter.Take(ctx, key, cost)
		answered <- answer{decision, err}
	}()
	select {
	case a := <-answered:
		return a.decision, a.err
	case <-ctx.Done():
		return limit.Decision{}, fmt.Errorf("probe: %w", ctx.Err())
	}
}

// away answers by the policy.
func (g *Guard) away(ctx context.Context, key string, cost int64, cause error) Answer {
	switch g.config.Policy {
	case Open:
		return Answer{Decision: limit.Decision{Allowed: true}, Source: ByOpen, Err: cause}
	case Local:
		decision, err := g.config.Local.Take(ctx, key, cost)
		if err == nil {
			return Answer{Decision: decision, Source: ByLocal, Err: cause}
		}
		cause = errors.Join(cause, err)
	case Closed:
	}
	return Answer{Decision: limit.Decision{RetryAfter: g.breaker.RetryAfter()}, Source: ByClosed, Err: cause}
}

// Share returns the part of l that one process may admit by itself, so that N
// processes with a share of 1/N keep the promise together. The rate is exact;
// the capacity is rounded down, but is at least cost, so that some request can
// pass: with N × cost above the capacity the sum exceeds it by that much.
func Share(l limit.Limit, share *big.Rat, cost int64) (limit.Limit, error) {
	if share.Sign() <= 0 || share.Cmp(big.NewRat(1, 1)) > 0 {
		return limit.Limit{}, fmt.Errorf("share %s: want more than 0 and at most 1", share.RatString())
	}
	rate := new(big.Rat).Mul(big.NewRat(l.Rate.Tokens, l.Rate.Seconds), share)
	if !rate.Num().IsInt64() || !rate.Denom().IsInt64() {
		return limit.Limit{}, fmt.Errorf("share %s of rate %s: too fine to be exact", share.RatString(), l.Rate)
	}
	capacity := new(big.Int).Mul(big.NewInt(l.Capacity), share.Num())
	capacity.Quo(capacity, share.Denom())
	part := limit.Limit{
		Capacity: max(capacity.Int64(), cost, 1),
		Rate:     limit.Rate{Tokens: rate.Num().Int64(), Seconds: rate.Denom().Int64()},
	}
	if err := part.Validate(); err != nil {
		return limit.Limit{}, fmt.Errorf("share %s of %s: %w", share.RatString(), l, err)
	}
	return part, nil
}
