// Package peers puts other people's rate limiters behind weir's own interface,
// to measure them beside ours: the same keys, the same limit, the same Redis,
// the same client settings.
//
// It is a module of its own, so that no program of weir depends on what it is
// compared with. Two programs are built on it: the benchmark in this package's
// tests (make bench-peers), which calls the libraries, and package league (make
// league), which attacks them over HTTP and has the judge decide.
//
// # One limit, several algorithms
//
// A limit is a token bucket: capacity B, rate r. GCRA is the same promise in
// other words. A fixed window of N a period promises something else, and the
// nearest there is is N = B a period of B/r: the same long-run rate, and never
// more at once. Around the edge of a window it admits up to 2·N, which its
// authors say too; [Peer.Windows] marks those.
//
// # What a decision holds
//
// An adapter fills in what its library tells and leaves the rest zero; see the
// comment of each. No library but ours tells when it decided.
package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"weir/api/limit"
	"weir/api/limit/redislimit"
)

// A Peer is one limiter of the comparison.
type Peer struct {
	Name    string // e.g. "redis_rate"
	Module  string // of its code, "" for this repository's
	Redis   bool   // its state is in Redis; otherwise in this process
	Windows bool   // it promises fixed windows, not a bucket
	// Open makes one for a limit. Prefix stands before its keys in Redis. What it
	// makes is an io.Closer where there is anything to close.
	Open func(env *Env, l limit.Limit, prefix string) (limit.Limiter, error)
}

// An Env is the Redis that all share, by each client library. The clients have
// the settings of redislimit.NewClient: nothing is sent twice, 64 connections.
type Env struct {
	Redis   redis.UniversalClient
	Rueidis rueidis.Client
}

// Dial opens both clients on the Redis at url.
func Dial(url string) (*Env, error) {
	rdb, err := redislimit.NewClient(url)
	if err != nil {
		return nil, fmt.Errorf("dial go-redis: %w", err)
	}
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("dial rueidis: %w", err)
	}
	option.DisableCache = true
	option.DisableRetry = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("dial rueidis: %w", err)
	}
	return &Env{Redis: rdb, Rueidis: client}, nil
}

// Close closes both clients.
func (e *Env) Close() {
	_ = e.Redis.Close() // nothing is pending
	e.Rueidis.Close()
}

// All are the peers, ours first.
func All() []Peer {
	peers := ours()
	peers = append(peers, overRedis()...)
	return append(peers, inProcess()...)
}

// adapter is a limiter made of one function.
type adapter struct {
	limit limit.Limit
	take  func(ctx context.Context, key string, cost int64) (limit.Decision, error)
	close func() error // nil: nothing to close
}

var _ limit.Limiter = (*adapter)(nil)

// Take asks the library.
func (a *adapter) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	return a.take(ctx, key, cost)
}

// Limit is what the library was configured with.
func (a *adapter) Limit() limit.Limit { return a.limit }

// Close ends what the library runs in the background.
func (a *adapter) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}

// window is the period over which a fixed window of capacity tokens has the
// limit's rate.
func window(l limit.Limit) time.Duration {
	return time.Duration(float64(l.Capacity) / l.Rate.PerSecond() * float64(time.Second))
}
