// Package redislimit keeps token buckets in Redis, so that any number of
// processes share one promise. Takes are decided by lua/token_bucket.lua, by
// Redis' clock.
//
//	rdb, err := redislimit.NewClient("redis://127.0.0.1:6379/0")
//	limiter, err := redislimit.New(rdb, l, redislimit.Config{Prefix: "tb:user:"})
//	err = limiter.Ready(ctx) // Redis answers and has the script
//	d, err := limiter.Take(ctx, "alice", 1)
//
// Limiters are cheap: give each route its own, all over one client.
//
// # Speed
//
// A take costs as little as it can without being less exact:
//
//   - A take goes to Redis at once while fewer than [Config.Slots] calls are under
//     way, and shares the next call with all others that wait when not: one EVALSHA
//     decides up to [Config.Batch] takes, in order of arrival.
//   - A bucket that is known to be empty is not asked again before its next token
//     is due, for at most [Config.Remember]. The refusal is computed from the last
//     one by limit.Limit.Take and allocates nothing.
//   - With [Config.Lease], a busy key's tokens are taken in advance and spent here.
//     This alone is less exact, by a stated bound, and off unless asked for.
//
// Batches are sent by go-redis as it is. Its own auto-pipelining sends one command
// a take and saves only system calls, while the greater part of the cost is
// Redis starting a script; it also makes callers wait where there are few. See
// BenchmarkTake, which has both.
//
// # A take is never sent twice
//
// When a reply is lost, nobody can tell whether the take was charged. go-redis
// by default sends such a command again, and charges twice. Takes forbid that
// whatever the client's settings, on Redis Cluster too: they fail with an
// [*Error] that says Unknown, all those of a batch alike. Only an answer that
// nothing ran is followed by another try: NOSCRIPT, after which the script is
// loaded, once; and WRONGTYPE, TRYAGAIN or CROSSSLOT for a batch, which one key
// can cause and which is therefore decided in halves. The script writes nothing
// before all of a batch is decided.
//
// # While Redis stalls
//
// A take that waits leaves at its context's end, and then has not been sent and is
// not charged; one that has been sent leaves too, its outcome unknown. At most
// [Config.MaxWaiting] wait; others are refused at once with [ErrBusy]. At most
// [Config.Slots] goroutines are this package's own, and they end by the client's
// timeouts.
//
// # Redis Cluster
//
// A call holds keys of one hash slot only. Keys without a hash tag are spread over
// 16384 slots, so that hardly two takes ever share a call: speed is then that of one
// EVALSHA a take, spread over the masters. A Prefix with a hash tag, "tb:{user}:",
// puts all of a limiter's keys into one slot and buys the batches back, at the
// price that one master decides them all: give each route a tag of its own, or put
// one of N tags into the key by a hash of it to use N masters. Other clients that
// spread keys over servers (redis.Ring) get no batches.
//
// # What another process cannot see
//
// A refusal that is remembered in one process is not forgotten when another one
// resets the key, gives leased tokens back, or has a higher limit for it: for at
// most Retry-After, and at most Config.Remember, the first may still refuse. It
// never admits too much.
package redislimit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/lua"
)

var _ limit.Limiter = (*Limiter)(nil)

// script knows the digest of the source; it is the same for every limiter.
var script = redis.NewScript(lua.TokenBucket)

// Config has the settings of a limiter. The zero Config is fast and exact.
type Config struct {
	// Prefix stands before every key in Redis, e.g. "tb:user:". Limiters with
	// different limits over one Redis need different prefixes.
	Prefix string
	// Batch is how many takes one call may decide, at most 1000. 128 when 0; 1 for
	// a call of its own for each take, however many there are at once.
	Batch int
	// Slots is how many calls may be under way at once before takes wait and
	// share; the client needs as many connections. 2 when 0.
	Slots int
	// MaxWaiting is how many takes may wait for a slot; more get ErrBusy. 16384 when 0.
	MaxWaiting int
	// Remember is how long an empty bucket may be refused without asking Redis
	// again; never longer than until its next token. 1s when 0; negative for never.
	Remember time.Duration
	// Remembered is how many empty buckets are remembered, to within the evenness
	// of a hash over 64 parts; about 150 bytes and the key for each. 65536 when 0.
	Remembered int
	// Lease is how many tokens of one key this process may hold in advance, at
	// most the capacity. None when 0. A limiter with leases must be closed, or
	// what it holds is lost to its keys; a take that was spent from a lease has
	// DecidedAt 0, since no clock of Redis' decided it. What is admitted in any
	// time t is at most capacity + rate × t + processes × Lease.
	Lease int64
}

// setDefaults fills in what is 0 and refuses what cannot be.
func (c *Config) setDefaults(l limit.Limit) error {
	setDefault(&c.Batch, 128)
	setDefault(&c.Slots, 2)
	setDefault(&c.MaxWaiting, 16384)
	setDefault(&c.Remember, time.Second)
	setDefault(&c.Remembered, 65536)
	switch {
	case c.Batch < 1 || c.Batch > 1000:
		return fmt.Errorf("batch %d: want 1 to 1000 takes", c.Batch)
	case c.Slots < 1:
		return fmt.Errorf("slots %d: want at least 1", c.Slots)
	case c.MaxWaiting < 1:
		return fmt.Errorf("max waiting %d: want at least 1", c.MaxWaiting)
	case c.Remembered < 1:
		return fmt.Errorf("remembered %d: want at least 1", c.Remembered)
	case c.Lease < 0 || c.Lease > l.Capacity:
		return fmt.Errorf("lease %d: want 0 to the capacity, %d tokens", c.Lease, l.Capacity)
	}
	return nil
}

// A Limiter keeps a token bucket in Redis for each key. Make one with [New].
type Limiter struct {
	rdb    redis.UniversalClient
	limit  limit.Limit
	config Config
	start  time.Time

	queues queues
	memory *memory // nil: remember nothing
	leases *leases // nil: lease nothing

	// arguments that every call shares, boxed once
	sha, tokens, seconds, capacity any

	now func() int64 // tests only: µs, passed to the script instead of TIME
}

// New returns a limiter that keeps the promise l for each key. It does not talk
// to Redis: Redis may be away at start and come later.
func New(rdb redis.UniversalClient, l limit.Limit, c Config) (*Limiter, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("redis limiter: %w", err)
	}
	if err := c.setDefaults(l); err != nil {
		return nil, fmt.Errorf("redis limiter: %w", err)
	}
	r := &Limiter{
		rdb:      rdb,
		limit:    l,
		config:   c,
		start:    time.Now(),
		sha:      script.Hash(),
		tokens:   strconv.FormatInt(l.Rate.Tokens, 10),
		seconds:  strconv.FormatInt(l.Rate.Seconds, 10),
		capacity: strconv.FormatInt(l.Capacity, 10),
	}
	r.queues = newQueues(rdb, func() *queue { return &queue{limiter: r, free: r.slots()} })
	if c.Remember > 0 {
		r.memory = newMemory(l, c.Remember, c.Remembered)
	}
	if c.Lease > 0 {
		r.leases = newLeases(r, c.Lease)
	}
	return r, nil
}

// slots is how many calls may be under way at once: any number where none is to
// be shared, or where the client may have the keys of one call on many servers.
func (r *Limiter) slots() int {
	switch r.rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
		if r.config.Batch > 1 {
			return r.config.Slots
		}
	}
	return math.MaxInt
}

// clock is this process's own time in µs. It never steps back.
func (r *Limiter) clock() int64 {
	if r.now != nil {
		return r.now()
	}
	return int64(time.Since(r.start) / time.Microsecond)
}

// Limit returns the promise this limiter keeps.
func (r *Limiter) Limit() limit.Limit { return r.limit }

// Take decides in Redis, or by what Redis has said. Its errors are limit.ErrCost
// and [*Error].
func (r *Limiter) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if cost < 0 {
		return limit.Decision{}, fmt.Errorf("take %d tokens: %w", cost, limit.ErrCost)
	}
	if err := ctx.Err(); err != nil {
		return limit.Decision{}, &Error{Op: "take", Err: err}
	}
	if r.leases != nil {
		return r.leases.take(ctx, key, cost)
	}
	return r.ask(ctx, key, cost)
}

// TryLocal decides a take by what Redis has said, where that is enough: exactly as
// Take would, without a context, and it allocates nothing. Otherwise it reports
// false.
func (r *Limiter) TryLocal(key string, cost int64) (limit.Decision, bool) {
	if r.memory == nil || r.leases != nil { // a lease is spent first
		return limit.Decision{}, false
	}
	return r.memory.take(key, cost, r.clock())
}

// ask has a take decided without regard to leases. A negative cost gives back.
func (r *Limiter) ask(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	resets := uint64(0)
	if r.memory != nil {
		if d, empty := r.memory.take(key, cost, r.clock()); empty {
			return d, nil
		}
		resets = r.memory.resets(key)
	}
	c := callPool.Get().(*call) //nolint:forcetypeassert // it holds nothing else
	c.key, c.cost = r.config.Prefix+key, costText(cost)
	if err := r.queues.of(c.key).take(ctx, c); err != nil {
		return limit.Decision{}, err // c is left to the worker that may still have it
	}
	if r.memory != nil {
		r.memory.remember(key, cost, c, resets)
	}
	d := c.decision
	callPool.Put(c)
	return d, nil
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

// Reset makes the bucket of key full, and drops what this process knows of it and
// has leased. Another process may refuse the key a little longer: see the package's
// documentation.
func (r *Limiter) Reset(ctx context.Context, key string) error {
	err := r.rdb.Del(ctx, r.config.Prefix+key).Err()
	r.forget(key)
	if r.leases != nil {
		r.leases.drop(key)
	}
	if err != nil {
		return &Error{Op: "reset", Unknown: mayHaveRun(err), Err: err}
	}
	return nil
}

// forget makes the next take of key ask Redis.
func (r *Limiter) forget(key string) {
	if r.memory != nil {
		r.memory.forget(key)
	}
}

// Close gives leased tokens back. Takes after it lease no more; a limiter without
// leases needs no Close. It does not close the client.
func (r *Limiter) Close() error {
	if r.leases == nil {
		return nil
	}
	return r.leases.close()
}
