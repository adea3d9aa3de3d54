// Package memlimit keeps token buckets in this process.
//
// It is the limiter for one process, for a fallback while Redis is away, and
// for tests; many processes that share one promise need redislimit. Its
// decisions are those of [limit.Limit.Take], bucket by bucket.
//
//	limiter, err := memlimit.New(l, memlimit.Config{})
//	d, err := limiter.Take(ctx, "alice", 1)
//
// # Memory
//
// An absent key is a full bucket, so a full bucket is forgotten without anyone
// being able to tell. Each of 64 shards sweeps out its full buckets when it has
// twice as many as survived the sweep before, and at least 1,024: the work is
// constant for each new key, and memory follows the number of buckets in use,
// about 150 bytes and the key for each. [Config.MaxKeys] bounds that number too; a new key beyond it gets
// [ErrFull], since the only other way to make room would be to hand tokens out.
//
// A take of a key that is already there allocates nothing.
package memlimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"weir/api/limit"
)

var _ limit.Limiter = (*Limiter)(nil)

// ErrFull reports a new key when MaxKeys buckets are in use and none is full.
// Nothing was charged.
var ErrFull = errors.New("too many keys in use")

const (
	shards     = 64
	minSweepAt = 1024 // keys in a shard before a sweep: fewer are not worth forgetting
)

// Config has the settings of a limiter. The zero Config works.
type Config struct {
	// Clock returns µs since the Unix epoch. It is called under a lock and may
	// step back. The system's clock when nil.
	Clock func() int64
	// MaxKeys bounds the buckets in use at once, to within the evenness of a
	// hash over 64 shards. 1,000,000 when 0.
	MaxKeys int
}

// A Limiter keeps a token bucket for each key. Make one with [New].
type Limiter struct {
	limit   limit.Limit
	clock   func() int64
	maxKeys int // in a shard
	seed    maphash.Seed
	shards  [shards]shard
}

// A shard is some of the keys behind one lock.
type shard struct {
	mu      sync.Mutex
	buckets map[string]*limit.State
	sweepAt int
	_       [40]byte // a cache line each, so that locks do not share one
}

// New returns a limiter that keeps the promise l for each key.
func New(l limit.Limit, c Config) (*Limiter, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("memory limiter: %w", err)
	}
	if c.MaxKeys < 0 {
		return nil, fmt.Errorf("memory limiter: max keys %d: want 1 or more, or 0 for 1,000,000", c.MaxKeys)
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1_000_000
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return time.Now().UnixMicro() }
	}
	m := &Limiter{limit: l, clock: c.Clock, maxKeys: (c.MaxKeys + shards - 1) / shards, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].buckets = make(map[string]*limit.State)
		m.shards[i].sweepAt = min(minSweepAt, m.maxKeys)
	}
	return m, nil
}

// Limit returns the promise this limiter keeps.
func (m *Limiter) Limit() limit.Limit { return m.limit }

// Take decides by the process's clock. Its errors are limit.ErrCost, [ErrFull]
// and ctx's own; with any of them nothing was charged.
func (m *Limiter) Take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	if err := ctx.Err(); err != nil {
		return limit.Decision{}, fmt.Errorf("take: %w", err)
	}
	if cost < 0 {
		return limit.Decision{}, fmt.Errorf("take %d tokens: %w", cost, limit.ErrCost)
	}
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.clock() // under the lock: the order of decisions is the order of their times
	if bucket := s.buckets[key]; bucket != nil {
		d, after := m.limit.Take(*bucket, now, cost)
		*bucket = after
		return d, nil
	}
	d, after := m.limit.Take(limit.State{}, now, cost)
	if after == (limit.State{}) {
		return d, nil
	}
	if len(s.buckets) >= s.sweepAt && !m.sweep(s, now) {
		return limit.Decision{}, fmt.Errorf("take: %w: %d in this shard of %d", ErrFull, len(s.buckets), shards)
	}
	s.buckets[strings.Clone(key)] = &after // the caller's key may be part of a larger buffer
	return d, nil
}

// sweep forgets the full buckets of s and reports whether there is room for one more.
func (m *Limiter) sweep(s *shard, now int64) bool {
	inUse := make(map[string]*limit.State) // a new map, because maps do not shrink
	for key, bucket := range s.buckets {
		if d, _ := m.limit.Take(*bucket, now, 0); d.ResetAfter != 0 {
			inUse[key] = bucket
		}
	}
	s.buckets = inUse
	s.sweepAt = min(max(2*len(inUse), minSweepAt), m.maxKeys)
	return len(inUse) < m.maxKeys
}

// Reset makes the bucket of key full.
func (m *Limiter) Reset(key string) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets, key)
}

// Len returns how many buckets are remembered, full ones not yet swept included.
func (m *Limiter) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.buckets)
		s.mu.Unlock()
	}
	return n
}

func (m *Limiter) shard(key string) *shard {
	return &m.shards[maphash.String(m.seed, key)%shards]
}
