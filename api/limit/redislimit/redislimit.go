// Package redislimit keeps token buckets in Redis, so that any number of
// processes share one promise. Each take is one EVALSHA of lua/token_bucket.lua,
// decided by Redis' clock.
//
//	rdb, err := redislimit.NewClient("redis://127.0.0.1:6379/0")
//	limiter, err := redislimit.New(rdb, l, redislimit.Config{Prefix: "tb:user:"})
//	err = limiter.Ready(ctx) // Redis answers and has the script
//	d, err := limiter.Take(ctx, "alice", 1)
//
// Limiters are cheap: give each route its own, all over one client.
//
// # A take is never sent twice
//
// When a reply is lost, nobody can tell whether the take was charged. go-redis
// by default sends such a command again, and charges twice. Takes forbid that
// whatever the client's settings, on Redis Cluster too: they fail with an
// [*Error] that says Unknown. Only NOSCRIPT, an explicit statement that nothing
// ran, is answered by loading the script and asking again, once.
//
// # Cost
//
// The text of the limit is made once, in New. What a take allocates is the
// command, its arguments and the reply; see BenchmarkTake.
package redislimit

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/lua"
)

var _ limit.Limiter = (*Limiter)(nil)

// script knows the digest of the source; it is the same for every limiter.
var script = redis.NewScript(lua.TokenBucket)

// Config has the settings of a limiter. The zero Config works.
type Config struct {
	// Prefix stands before every key in Redis, e.g. "tb:user:". Limiters with
	// different limits over one Redis need different prefixes.
	Prefix string
}

// A Limiter keeps a token bucket in Redis for each key. Make one with [New].
type Limiter struct {
	rdb    redis.UniversalClient
	limit  limit.Limit
	prefix string

	// arguments that every take shares, boxed once
	sha, tokens, seconds, capacity any

	now func() int64 // tests only: µs, passed to the script instead of TIME
}

// New returns a limiter that keeps the promise l for each key. It does not talk
// to Redis: Redis may be away at start and come later.
func New(rdb redis.UniversalClient, l limit.Limit, c Config) (*Limiter, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("redis limiter: %w", err)
	}
	return &Limiter{
		rdb:      rdb,
		limit:    l,
		prefix:   c.Prefix,
		sha:      script.Hash(),
		tokens:   strconv.FormatInt(l.Rate.Tokens, 10),
		seconds:  strconv.FormatInt(l.Rate.Seconds, 10),
		capacity: strconv.FormatInt(l.Capacity, 10),
	}, nil
}

// Limit returns the promise this limiter keeps.
func (r *Limiter) Limit() limit.Limit { return r.limit }

// Take decides in Redis. Its errors are limit.ErrCost and [*Error].
func (r *Limiter) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if cost < 0 {
		return limit.Decision{}, fmt.Errorf("take %d tokens: %w", cost, limit.ErrCost)
	}
	if err := ctx.Err(); err != nil {
		return limit.Decision{}, &Error{Op: "take", Err: err}
	}
	d, err := r.evalsha(ctx, key, cost)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err := r.Load(ctx); err != nil {
			return limit.Decision{}, err
		}
		d, err = r.evalsha(ctx, key, cost)
	}
	if err != nil {
		return limit.Decision{}, &Error{Op: "take", Unknown: mayHaveRun(err), Err: err}
	}
	return d, nil
}

// evalsha asks once.
func (r *Limiter) evalsha(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	pooled := argsPool.Get().(*[8]any) //nolint:forcetypeassert // it holds nothing else
	defer argsPool.Put(pooled)         // nothing keeps the command after Process has returned
	*pooled = [8]any{"evalsha", r.sha, "1", r.prefix + key, r.tokens, r.seconds, r.capacity, costText(cost)}
	args := pooled[:]
	if r.now != nil {
		args = append(args, strconv.FormatInt(r.now(), 10))
	}
	cmd := once{redis.NewIntSliceCmd(ctx, args...)}
	if err := r.rdb.Process(ctx, cmd); err != nil {
		return limit.Decision{}, err //nolint:wrapcheck // Take wraps it
	}
	reply := cmd.Val()
	if len(reply) != 5 {
		return limit.Decision{}, fmt.Errorf("reply of %d numbers, want 5", len(reply))
	}
	return limit.Decision{
		Allowed:    reply[0] == 1,
		Remaining:  reply[1],
		RetryAfter: wait(reply[2]),
		ResetAfter: wait(reply[3]),
		DecidedAt:  reply[4],
	}, nil
}

// argsPool has the arguments of takes that are over.
var argsPool = sync.Pool{New: func() any { return new([8]any) }}

// once is a command that go-redis must not send a second time after it may have
// reached Redis.
type once struct{ *redis.IntSliceCmd }

// NoRetry overrides go-redis' default of sending again.
func (once) NoRetry() bool { return true }

// costText avoids an allocation for the usual cost.
func costText(cost int64) any {
	if cost == 1 {
		return "1"
	}
	return strconv.FormatInt(cost, 10)
}

// wait turns µs of the script's reply into a duration; -1 is Never.
func wait(us int64) time.Duration {
	if us < 0 {
		return limit.Never
	}
	return time.Duration(us) * time.Microsecond
}

// Load loads the script into Redis, on a cluster into every master.
func (r *Limiter) Load(ctx context.Context) error {
	if err := script.Load(ctx, r.rdb).Err(); err != nil {
		return &Error{Op: "load script", Err: err}
	}
	return nil
}

// Ready returns nil when Redis answers and has the script, which it loads where
// it is missing. Call it at start and from a readiness probe.
func (r *Limiter) Ready(ctx context.Context) error {
	loaded, err := script.Exists(ctx, r.rdb).Result()
	if err != nil {
		return &Error{Op: "check script", Err: err}
	}
	if len(loaded) == 1 && loaded[0] {
		return nil
	}
	return r.Load(ctx)
}

// Reset makes the bucket of key full.
func (r *Limiter) Reset(ctx context.Context, key string) error {
	if err := r.rdb.Del(ctx, r.prefix+key).Err(); err != nil {
		return &Error{Op: "reset", Unknown: mayHaveRun(err), Err: err}
	}
	return nil
}
