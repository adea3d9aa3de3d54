package guard

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [BreakerConfig].
const (
	DefaultFailures = 5
	DefaultCooldown = 500 * time.Millisecond // so that a backend is in use again within a second of its return
)

// BreakerConfig tells a [Breaker] when to open and when to try again.
type BreakerConfig struct {
	Failures int           // failures in a row that open it; 0 is DefaultFailures
	Cooldown time.Duration // between probes while it is open; 0 is DefaultCooldown
	Log      *slog.Logger  // told once of each change, and of each new reason while away; nil is silent
}

// A Breaker remembers whether a backend is away. It is safe for concurrent use,
// and a working backend costs it one atomic load and no write.
type Breaker struct {
	failures int32
	cooldown time.Duration
	log      *slog.Logger
	epoch    time.Time // its monotonic clock is the breaker's

	row atomic.Int32 // failures in a row
	// next is when the next probe may go, in nanoseconds after epoch; 0 while
	// the backend works. Whoever moves it forward is the probe, so there is
	// never more than one in a cooldown, and one that is lost wedges nothing.
	next atomic.Int64
	// since is when the breaker opened, in nanoseconds after epoch.
	since atomic.Int64

	mu   sync.Mutex
	said []string // the reasons told since it opened, without their numbers
}

// NewBreaker returns a breaker that trusts its backend.
func NewBreaker(config BreakerConfig) *Breaker {
	b := &Breaker{
		failures: DefaultFailures,
		cooldown: DefaultCooldown,
		log:      slog.New(slog.DiscardHandler),
		epoch:    time.Now(),
	}
	if config.Failures > 0 {
		b.failures = int32(config.Failures)
	}
	if config.Cooldown > 0 {
		b.cooldown = config.Cooldown
	}
	if config.Log != nil {
		b.log = config.Log
	}
	return b
}

// Away reports whether the breaker is open.
func (b *Breaker) Away() bool { return b.next.Load() != 0 }

// RetryAfter is how long until the backend is tried again; 0 when at once.
func (b *Breaker) RetryAfter() time.Duration {
	next := b.next.Load()
	if next == 0 {
		return 0
	}
	return max(0, time.Duration(next)-b.now())
}

// now never returns 0, which next keeps for "works".
func (b *Breaker) now() time.Duration { return time.Since(b.epoch) + 1 }

// admit reports whether the backend may be asked: always while it works, once
// in a cooldown while it is away.
func (b *Breaker) admit() bool {
	next := b.next.Load()
	if next == 0 {
		return true
	}
	now := b.now()
	return now >= time.Duration(next) && b.next.CompareAndSwap(next, int64(now+b.cooldown))
}

// succeeded records an answer. One that was asked for before the breaker opened
// closes it too: an answer is an answer.
func (b *Breaker) succeeded() {
	if b.row.Load() != 0 {
		b.row.Store(0)
	}
	if next := b.next.Load(); next != 0 && b.next.CompareAndSwap(next, 0) {
		away := b.now() - time.Duration(b.since.Load())
		b.log.Info("backend is back", "away_for", away.Round(time.Millisecond))
	}
}

// failed records that no answer came.
func (b *Breaker) failed(cause error) {
	if b.row.Add(1) < b.failures {
		return
	}
	now := b.now()
	if !b.next.CompareAndSwap(0, int64(now+b.cooldown)) {
		// Open already; a failed probe has moved next when it went. A backend that
		// was down and now is loading its data is another state, and worth a word.
		if b.news(cause, false) {
			b.log.Warn("backend is still away", "reason", cause)
		}
		return
	}
	b.since.Store(int64(now))
	b.news(cause, true)
	b.log.Error("backend is away", "reason", cause, "failures", b.failures, "retry_every", b.cooldown)
}

// mostReasons bounds the log of one outage.
const mostReasons = 8

// news reports whether a cause was not told since the breaker opened. Ports and
// the like, which differ each time, make no difference.
func (b *Breaker) news(cause error, opened bool) bool {
	digits := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}
	reason := strings.Map(digits, cause.Error())
	b.mu.Lock()
	defer b.mu.Unlock()
	if opened {
		b.said = b.said[:0]
	}
	if len(b.said) >= mostReasons || slices.Contains(b.said, reason) {
		return false
	}
	b.said = append(b.said, reason)
	return true
}
