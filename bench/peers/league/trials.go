package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

// The two limits. The first is as large against its rate as it takes for a
// bucket to need two seconds to fill, the second is slow enough that rounding
// Retry-After to seconds matters.
const (
	fast = "100/s,capacity=200"
	slow = "2/s,capacity=4"
)

// trials are what every limiter goes through.
var trials = []struct {
	name, question, limit string
	offer                 func(ctx context.Context, t *trial) error
}{
	{"steady", "Is everybody admitted who stays below the limit?", fast, steady},
	{"overload", "At ten times the limit, is exactly the limit admitted?", fast, overload},
	{"clock-edge", "Twice a burst around an edge of the wall clock: are both admitted?", fast, clockEdge},
	{"window-edge", "Twice a burst around the end of the window that the first request began: are both admitted?", fast, windowEdge},
	{"idle-burst", "After a busy second and an idle one, is the bucket only as full as it can be?", fast, idleBurst},
	{"one-key", "With 64 clients at once on one key, does each take count once?", fast, oneKey},
	{"obedient", "Is a client that waits as long as Retry-After says admitted when it returns?", slow, obedient},
}

// A trial is one of them, as one limiter took it.
type trial struct {
	Name      string         `json:"name"`
	Question  string         `json:"question"`
	Verdict   *judge.Verdict `json:"verdict"`              // as a token bucket
	AsWindows *judge.Verdict `json:"as_windows,omitempty"` // over-admission alone, against what fixed windows can add up to

	offers  func(ctx context.Context, t *trial) error
	promise limit.Limit
	plan    plan.Plan
	records []record.Record
	counts  run.Counts
}

// attack takes one limiter through all trials. Those with the slow limit go on
// beside the others, on a server of their own: they mostly wait.
func (l *league) attack(ctx context.Context, c *contestant) (row, error) {
	r := row{Name: c.name, State: c.state, Windows: c.windows, Promise: c.says(must(limit.Parse(fast)))}
	var err error
	if r.Version, err = c.version(l); errors.Is(err, errMissing) {
		r.LeftOut = err.Error()
		fmt.Fprintf(l.stderr, "league: %s is left out: %s\n", c.name, r.LeftOut)
		return r, nil
	} else if err != nil {
		return r, err
	}
	fmt.Fprintf(l.stderr, "league: attacking %s %s\n", c.name, r.Version)
	var group errgroup.Group
	for _, text := range []string{fast, slow} {
		promise := must(limit.Parse(text))
		s, err := c.start(ctx, l, c, promise, fmt.Sprintf("%s-%d", c.name, promise.Capacity))
		if err != nil {
			return r, errors.Join(err, group.Wait())
		}
		var list []*trial
		for i := range trials {
			if trials[i].limit == text {
				list = append(list, newTrial(c, i, promise, s.url))
			}
		}
		r.Findings = append(r.Findings, list...)
		group.Go(func() error {
			defer s.stop()
			if text == slow {
				if r.Sample, err = sample(ctx, s.url, promise); err != nil {
					return err
				}
			}
			return l.offerAll(ctx, c, list)
		})
	}
	if err := group.Wait(); err != nil {
		return r, err //nolint:wrapcheck // it is ours
	}
	if c.whyExcess != "" && r.overAdmitted() {
		r.Why = append(r.Why, c.whyExcess)
	}
	if c.whyFailed != "" && r.failed() > 0 {
		r.Why = append(r.Why, c.whyFailed)
	}
	return r, nil
}

func newTrial(c *contestant, i int, promise limit.Limit, url string) *trial {
	return &trial{
		Name: trials[i].name, Question: trials[i].question, offers: trials[i].offer, promise: promise,
		plan: plan.Plan{
			Name: c.name + "-" + trials[i].name, Question: trials[i].question, Seed: 1, Keys: plan.Keys{Count: 1, Via: "header:" + keyHeader},
			Targets: []plan.Target{{Method: http.MethodGet, URL: url}}, Limit: &promise, Fresh: true, CatchUp: -1,
		},
	}
}

func (l *league) offerAll(ctx context.Context, c *contestant, list []*trial) error {
	for _, t := range list {
		if err := t.offers(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if err := t.judge(c.windows); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		t.records = nil
		fmt.Fprintf(l.stderr, "league:   %-12s %s\n", t.Name, t.Verdict.Sentence)
	}
	return nil
}

// sample is the Retry-After of a throttled answer, word for word, "" for none.
func sample(ctx context.Context, url string, promise limit.Limit) (string, error) {
	for range promise.Capacity * 3 {
		status, retryAfter, err := ask(ctx, url, "sample")
		if err != nil {
			return "", err
		}
		if status == http.StatusTooManyRequests {
			return retryAfter, nil
		}
	}
	return "", nil
}

// offer attacks with a shape for a while. Trials are made of several.
func (t *trial) offer(ctx context.Context, shape string, duration time.Duration) error {
	p := t.plan
	p.Shape, p.Duration = must(plan.ParseShape(shape)), duration
	done, err := attack.Run(ctx, &p, attack.Config{Sink: func(batch []record.Record) error {
		t.records = append(t.records, batch...)
		return nil
	}})
	if err != nil {
		return fmt.Errorf("offer %s: %w", shape, err)
	}
	if done.Error != "" {
		return fmt.Errorf("offer %s: %s", shape, done.Error)
	}
	t.counts.Planned += done.Counts.Planned
	t.counts.Dropped += done.Counts.Dropped
	t.counts.Late += done.Counts.Late
	t.counts.Sent += done.Counts.Sent
	t.counts.Done += done.Counts.Done
	return nil
}

// burst sends n requests at once.
func (t *trial) burst(ctx context.Context, n int64) error {
	return t.offer(ctx, fmt.Sprintf("burst:%d@1s", n), time.Millisecond)
}

// judge has the records judged as a bucket and, for a limiter that promises
// windows of N, also against what those can add up to: 2·N at once around an
// edge, at the same rate.
func (t *trial) judge(windows bool) (err error) {
	options := judge.Options{Limit: t.promise, Plan: t.Name, Fresh: true, Counts: &t.counts, Planned: true}
	if t.Verdict, err = verdict(t.records, options); err != nil {
		return err
	}
	t.Verdict.OverAdmission.Witness = nil // a thousand lines that nobody reads
	if windows {
		options.Limit.Capacity *= 2
		if t.AsWindows, err = verdict(t.records, options); err != nil {
			return err
		}
		t.AsWindows.OverAdmission.Witness = nil
	}
	return nil
}

func verdict(records []record.Record, options judge.Options) (*judge.Verdict, error) {
	j, err := judge.New(options)
	if err == nil {
		err = j.Add(records)
	}
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	return j.Verdict(), nil
}

func steady(ctx context.Context, t *trial) error {
	return t.offer(ctx, "poisson:80/s", 2*time.Second)
}

func overload(ctx context.Context, t *trial) error {
	return t.offer(ctx, "constant:1000/s", 3*time.Second)
}

func clockEdge(ctx context.Context, t *trial) error {
	return t.offer(ctx, fmt.Sprintf("edge:%d@%s", t.promise.Capacity, window(t.promise)), 2*window(t.promise))
}

// windowEdge has one request begin a window, and a burst on each side of its
// end. By then a bucket is full again, and admits the first burst alone.
func windowEdge(ctx context.Context, t *trial) error {
	if err := t.burst(ctx, 1); err != nil {
		return err
	}
	end := time.Unix(0, t.records[0].Sent).Add(window(t.promise))
	for _, at := range []time.Duration{-100 * time.Millisecond, 60 * time.Millisecond} {
		if err := until(ctx, end.Add(at)); err != nil {
			return err
		}
		if err := t.burst(ctx, t.promise.Capacity); err != nil {
			return err
		}
	}
	return nil
}

// idleBurst leaves a key alone for a bit more than one second while its bucket
// needs two to fill.
func idleBurst(ctx context.Context, t *trial) error {
	if err := t.offer(ctx, "constant:1000/s", 500*time.Millisecond); err != nil {
		return err
	}
	if err := until(ctx, time.Now().Add(1050*time.Millisecond)); err != nil {
		return err
	}
	return t.offer(ctx, "constant:1000/s", 300*time.Millisecond)
}

func oneKey(ctx context.Context, t *trial) error {
	return t.offer(ctx, "users:64", time.Second)
}

// clockMargin is by how much a client waits longer than it was told: by what the
// judge allows two clocks to differ over some seconds, so that it can tell a
// promise that was kept.
const clockMargin = 5 * time.Millisecond

// obedient empties the bucket, waits as long as it was told, and asks once.
func obedient(ctx context.Context, t *trial) error {
	for range 4 {
		if err := t.burst(ctx, t.promise.Capacity+2); err != nil {
			return err
		}
		last, found := lastThrottled(t.records)
		if !found || math.IsNaN(last.Quota.RetryAfter) || last.Quota.RetryAfter > 2*window(t.promise).Seconds() {
			return nil
		}
		wait := time.Duration(last.Quota.RetryAfter * float64(time.Second))
		if err := until(ctx, time.Unix(0, last.Done).Add(wait+clockMargin)); err != nil {
			return err
		}
		if err := t.burst(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// lastThrottled is the throttled answer that came last.
func lastThrottled(records []record.Record) (last record.Record, found bool) {
	for _, r := range records {
		if r.Outcome == record.Throttled && r.Done > last.Done {
			last, found = r, true
		}
	}
	return last, found
}

// until sleeps until an instant.
func until(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // it says enough
	case <-time.After(time.Until(at)):
		return nil
	}
}

// must is for texts in this file.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
