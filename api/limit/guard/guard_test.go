package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/api/limit"
	"weir/api/limit/guard"
)

var promise = limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}

var errDown = errors.New("connection refused")

// A backend answers, fails or hangs as told, and counts how often it was asked.
type backend struct {
	mode  atomic.Int32
	asked atomic.Int32
}

const (
	works = iota
	fails
	hangs
)

func (b *backend) Limit() limit.Limit { return promise }

func (b *backend) Take(ctx context.Context, _ string, cost int64) (limit.Decision, error) {
	b.asked.Add(1)
	switch b.mode.Load() {
	case fails:
		return limit.Decision{}, errDown
	case hangs:
		<-ctx.Done()
		return limit.Decision{}, ctx.Err()
	}
	return limit.Decision{Allowed: true, Remaining: (20 - cost) * limit.MicroToken, DecidedAt: 1}, nil
}

// local is a limiter that throttles everything, to be told from the others.
type local struct{ err error }

func (l local) Limit() limit.Limit { return promise }

func (l local) Take(context.Context, string, int64) (limit.Decision, error) {
	return limit.Decision{RetryAfter: 7 * time.Second}, l.err
}

func newGuard(b *backend, log *bytes.Buffer, config guard.Config) (*guard.Guard, *guard.Breaker) {
	breaker := guard.NewBreaker(guard.BreakerConfig{
		Failures: 3, Cooldown: time.Second, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	return guard.New(b, breaker, config), breaker
}

func TestWorkingBackendDecides(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g, _ := newGuard(b, &bytes.Buffer{}, guard.Config{Deadline: time.Second})
	answer := g.Take(t.Context(), "alice", 2)
	if answer.Source != guard.Backend || !answer.Allowed || answer.Remaining != 18*limit.MicroToken || answer.Err != nil {
		t.Errorf("Take = %+v, want the backend's decision", answer)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		config  guard.Config
		source  guard.Source
		allowed bool
		wait    time.Duration
	}{
		{"closed refuses", guard.Config{}, guard.ByClosed, false, 0},
		{"open admits", guard.Config{Policy: guard.Open}, guard.ByOpen, true, 0},
		{"local decides", guard.Config{Policy: guard.Local, Local: local{}}, guard.ByLocal, false, 7 * time.Second},
		{"local fails: refuses", guard.Config{Policy: guard.Local, Local: local{errDown}}, guard.ByClosed, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{}
			b.mode.Store(fails)
			g, _ := newGuard(b, &bytes.Buffer{}, test.config)
			answer := g.Take(t.Context(), "alice", 1)
			if answer.Source != test.source || answer.Allowed != test.allowed || answer.RetryAfter != test.wait {
				t.Errorf("Take = %+v, want source %d, allowed %v, retry after %s", answer, test.source, test.allowed, test.wait)
			}
			if !errors.Is(answer.Err, errDown) {
				t.Errorf("Take: err = %v, want the backend's", answer.Err)
			}
		})
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, log := &backend{}, &bytes.Buffer{}
		g, breaker := newGuard(b, log, guard.Config{})
		b.mode.Store(fails)
		for range 10 {
			g.Take(t.Context(), "alice", 1)
		}
		if got := b.asked.Load(); got != 3 {
			t.Fatalf("a dead backend was asked %d times, want 3 and then no more", got)
		}
		answer := g.Take(t.Context(), "alice", 1)
		if !errors.Is(answer.Err, guard.ErrAway) || answer.RetryAfter != time.Second || !breaker.Away() {
			t.Errorf("Take = %+v, want ErrAway, retry after 1s", answer)
		}

		// One probe a cooldown, which fails.
		time.Sleep(time.Second)
		for range 10 {
			g.Take(t.Context(), "alice", 1)
		}
		if got := b.asked.Load(); got != 4 {
			t.Errorf("asked %d times after a cooldown, want 4: one probe", got)
		}

		// The next one answers.
		b.mode.Store(works)
		if answer := g.Take(t.Context(), "alice", 1); answer.Source != guard.ByClosed {
			t.Errorf("Take before the probe is due = %+v, want closed", answer)
		}
		time.Sleep(time.Second)
		for range 2 {
			if answer := g.Take(t.Context(), "alice", 1); answer.Source != guard.Backend {
				t.Errorf("Take once it is back = %+v, want the backend's", answer)
			}
		}
		if breaker.Away() || breaker.RetryAfter() != 0 {
			t.Error("breaker still open after an answer")
		}
		text := log.String()
		if strings.Count(text, "is away") != 1 || strings.Count(text, "is back") != 1 || strings.Count(text, "\n") != 2 {
			t.Errorf("each change must be logged once:\n%s", text)
		}
		if !strings.Contains(text, "connection refused") || !strings.Contains(text, "away_for=2s") {
			t.Errorf("log does not say why and for how long:\n%s", text)
		}
	})
}

func TestOneProbeAmongMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		g, _ := newGuard(b, &bytes.Buffer{}, guard.Config{Deadline: 100 * time.Millisecond})
		b.mode.Store(fails)
		for range 3 {
			g.Take(t.Context(), "alice", 1)
		}
		b.mode.Store(hangs)
		time.Sleep(time.Second)
		started := time.Now()
		var waiting sync.WaitGroup
		var atOnce atomic.Int32
		for range 50 {
			waiting.Go(func() {
				g.Take(t.Context(), "alice", 1)
				if time.Since(started) == 0 {
					atOnce.Add(1)
				}
			})
		}
		waiting.Wait()
		if asked, fast := b.asked.Load(), atOnce.Load(); asked != 4 || fast != 49 {
			t.Errorf("asked %d times with %d answers at once, want 4 and 49: one probe, nobody else waits", asked, fast)
		}
	})
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.mode.Store(hangs)
		g, breaker := newGuard(b, &bytes.Buffer{}, guard.Config{Deadline: 250 * time.Millisecond, Policy: guard.Open})
		started := time.Now()
		answer := g.Take(t.Context(), "alice", 1)
		if took := time.Since(started); took != 250*time.Millisecond {
			t.Errorf("a hung backend held the take for %s, want 250ms", took)
		}
		if answer.Source != guard.ByOpen || !errors.Is(answer.Err, context.DeadlineExceeded) ||
			!strings.Contains(answer.Err.Error(), "no answer within 250ms") {
			t.Errorf("Take = %+v, want open, no answer within 250ms", answer)
		}
		g.Take(t.Context(), "alice", 1)
		g.Take(t.Context(), "alice", 1)
		if !breaker.Away() {
			t.Error("three missed deadlines did not open the breaker")
		}
	})
}

func TestCallersWhoLeaveDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	b := &backend{}
	b.mode.Store(hangs)
	g, breaker := newGuard(b, &bytes.Buffer{}, guard.Config{Deadline: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if answer := g.Take(ctx, "alice", 1); answer.Source != guard.Abandoned {
			t.Fatalf("Take = %+v, want abandoned", answer)
		}
	}
	if breaker.Away() {
		t.Error("callers who left opened the breaker")
	}
}

func TestSuccessBreaksTheRow(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g, breaker := newGuard(b, &bytes.Buffer{}, guard.Config{})
	for range 10 {
		for _, mode := range []int32{fails, fails, works} {
			b.mode.Store(mode)
			g.Take(t.Context(), "alice", 1)
		}
	}
	if breaker.Away() {
		t.Error("failures that are not in a row opened the breaker")
	}
}

func TestRoutesShareABreaker(t *testing.T) {
	t.Parallel()
	b := &backend{}
	b.mode.Store(fails)
	first, breaker := newGuard(b, &bytes.Buffer{}, guard.Config{})
	second := guard.New(b, breaker, guard.Config{Policy: guard.Open})
	for range 3 {
		first.Take(t.Context(), "alice", 1)
	}
	answer := second.Take(t.Context(), "alice", 1)
	if b.asked.Load() != 3 || answer.Source != guard.ByOpen || !answer.Allowed {
		t.Errorf("second route: %+v after %d questions, want open without asking", answer, b.asked.Load())
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g, breaker := newGuard(b, &bytes.Buffer{}, guard.Config{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 2000 {
				b.mode.Store(int32((i + j) % 2))
				g.Take(t.Context(), "alice", 1)
				breaker.RetryAfter()
			}
		})
	}
	all.Wait()
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit string
		share string
		cost  int64
		want  string
	}{
		{"5/s,capacity=20", "1/2", 1, "2.5/s,capacity=10"},
		{"5/s,capacity=20", "0.25", 1, "1.25/s,capacity=5"},
		{"5/s,capacity=20", "1", 1, "5/s,capacity=20"},
		{"10/m,capacity=3", "1/4", 1, "2.5/m,capacity=1"},
		{"1/s,capacity=5", "1/2", 4, "0.5/s,capacity=4"},
	} {
		whole, err := limit.Parse(test.limit)
		if err != nil {
			t.Fatal(err)
		}
		share, _ := new(big.Rat).SetString(test.share)
		part, err := guard.Share(whole, share, test.cost)
		if err != nil || part.String() != test.want {
			t.Errorf("Share(%s, %s, cost %d) = %s, %v, want %s", test.limit, test.share, test.cost, part, err, test.want)
		}
	}
	for _, share := range []*big.Rat{big.NewRat(0, 1), big.NewRat(-1, 2), big.NewRat(3, 2)} {
		if _, err := guard.Share(promise, share, 1); err == nil {
			t.Errorf("Share(%s) was accepted", share.RatString())
		}
	}
}

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for _, policy := range []guard.Policy{guard.Closed, guard.Open, guard.Local} {
		if got, err := guard.ParsePolicy(policy.String()); err != nil || got != policy {
			t.Errorf("ParsePolicy(%q) = %v, %v", policy, got, err)
		}
	}
	if _, err := guard.ParsePolicy("ajar"); err == nil || !strings.Contains(err.Error(), "closed, open or local") {
		t.Errorf("ParsePolicy(ajar) = %v, want the choices", err)
	}
}

// A dead backend must cost next to nothing a request.
func BenchmarkTakeWhileAway(b *testing.B) {
	dead := &backend{}
	dead.mode.Store(fails)
	g, _ := newGuard(dead, &bytes.Buffer{}, guard.Config{Policy: guard.Open})
	b.ReportAllocs()
	for b.Loop() {
		g.Take(b.Context(), "alice", 1)
	}
}

func BenchmarkTake(b *testing.B) {
	g, _ := newGuard(&backend{}, &bytes.Buffer{}, guard.Config{Deadline: time.Second})
	b.ReportAllocs()
	for b.Loop() {
		g.Take(b.Context(), "alice", 1)
	}
}

// fickle fails with the error it is told.
type fickle struct{ err error }

func (f *fickle) Limit() limit.Limit { return promise }

func (f *fickle) Take(context.Context, string, int64) (limit.Decision, error) {
	return limit.Decision{}, f.err
}

// A backend that is away for another reason than before says so, once: a port in
// the reason does not make it another.
func TestEachReasonIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &bytes.Buffer{}
		breaker := guard.NewBreaker(guard.BreakerConfig{
			Failures: 1, Cooldown: time.Second, Log: slog.New(slog.NewTextHandler(log, nil)),
		})
		f := &fickle{}
		g := guard.New(f, breaker, guard.Config{})
		for _, text := range []string{
			"dial: connection refused", "read 127.0.0.1:4711: timeout", "LOADING", "read 127.0.0.1:815: timeout", "LOADING", "dial: connection refused",
		} {
			f.err = errors.New(text)
			for range 100 {
				g.Take(t.Context(), "alice", 1)
			}
			time.Sleep(time.Second)
		}
		text := log.String()
		if strings.Count(text, "\n") != 3 || strings.Count(text, "is away") != 1 || strings.Count(text, "still away") != 2 {
			t.Errorf("want one line for each of refused, timeout and LOADING:\n%s", text)
		}
		for range 20 { // reasons without end are bounded
			f.err = errors.New("reason " + strings.Repeat("x", len(f.err.Error())))
			g.Take(t.Context(), "alice", 1)
			time.Sleep(time.Second)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 8 {
			t.Errorf("%d lines for 23 reasons, want 8", lines)
		}
	})
}

// deaf is a backend that fails, and then hears no deadline.
type deaf struct {
	fickle
	hangs time.Duration
}

func (d *deaf) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	time.Sleep(d.hangs)
	return d.fickle.Take(ctx, key, cost)
}

// A probe keeps the deadline also where the backend does not.
func TestProbeKeepsTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		breaker := guard.NewBreaker(guard.BreakerConfig{Failures: 1, Cooldown: time.Second})
		d := &deaf{fickle: fickle{errDown}}
		g := guard.New(d, breaker, guard.Config{Deadline: 250 * time.Millisecond})
		g.Take(t.Context(), "alice", 1)
		time.Sleep(time.Second)
		d.hangs = time.Minute
		started := time.Now()
		answer := g.Take(t.Context(), "alice", 1)
		if took := time.Since(started); took != 250*time.Millisecond || answer.Source != guard.ByClosed {
			t.Errorf("probe took %s and answered %+v, want closed after the deadline of 250ms", took, answer)
		}
		if !errors.Is(answer.Err, context.DeadlineExceeded) {
			t.Errorf("Err = %v, want the deadline's", answer.Err)
		}
		time.Sleep(time.Minute) // the backend has heard of it
	})
}
