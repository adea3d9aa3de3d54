package redislimit

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/api/limit"
)

const (
	memoryShards = 64
	// maxDrift is the part of a wait by which Redis' clock may run faster than
	// this process's: 1/1024, twice what NTP slews two clocks apart.
	maxDrift = 1024
)

// memory knows which buckets are empty, so that a throttled take need not ask.
//
// A bucket with less than one token admits nobody before its next token, and
// nothing but time brings that: every refusal until then follows from the last one.
// It is made by limit.Limit.Take from what Redis said, so that not only "no" but
// each figure of it is what Redis would say.
//
// What Redis would say depends on Redis' clock. When it decided at D, this process
// had sent the take at S and has read the answer at G, by its own clock. At an
// instant t of its own, Redis' clock shows at most D + (t−S) and at least
// D + (t−G). Whether to answer is judged by the former, so that nobody is throttled
// whom Redis would admit; what is answered goes by the latter, so that Retry-After
// is no shorter than it was.
type memory struct {
	limit  limit.Limit
	oldest int64 // µs that a refusal is remembered at most
	room   int   // refusals in a shard
	seed   maphash.Seed
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	resets atomic.Uint64 // how often a key was forgotten on purpose
	mu     sync.RWMutex
	empty  map[string]refusal
	_      [16]byte // a cache line each, so that locks do not share one
}

// A refusal is an empty bucket: its state when Redis decided, and when that was
// and how long it holds by Limiter.clock.
type refusal struct {
	bucket    limit.State
	got       int64
	holdsTill int64
}

func newMemory(l limit.Limit, oldest time.Duration, keys int) *memory {
	m := &memory{limit: l, oldest: oldest.Microseconds(), room: max(1, keys/memoryShards), seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].empty = make(map[string]refusal)
	}
	return m
}

func (m *memory) shard(key string) *memoryShard {
	return &m.shards[maphash.String(m.seed, key)%memoryShards]
}

// take refuses, or knows nothing.
func (m *memory) take(key string, cost, now int64) (limit.Decision, bool) {
	s := m.shard(key)
	s.mu.RLock()
	known, found := s.empty[key]
	s.mu.RUnlock()
	if !found || cost < 1 || now >= known.holdsTill || now < known.got {
		return limit.Decision{}, false
	}
	d, _ := m.limit.Take(known.bucket, known.bucket.At+now-known.got, cost)
	return d, !d.Allowed
}

// resets changes whenever a key like this is forgotten: an answer that was asked
// for before must not be remembered after.
func (m *memory) resets(key string) uint64 { return m.shard(key).resets.Load() }

// remember keeps what Redis said about a take of cost tokens, if that holds for
// longer than it took to say so.
func (m *memory) remember(key string, cost int64, c *call, resets uint64) {
	d := &c.decision
	if d.Allowed || cost > m.limit.Capacity || d.Remaining >= limit.MicroToken {
		return
	}
	bucket := limit.State{At: d.DecidedAt, Level: m.level(d, cost), Seconds: m.limit.Rate.Seconds}
	holds := m.oldest
	if token, _ := m.limit.Take(bucket, bucket.At, 1); token.RetryAfter != limit.Never {
		first := token.RetryAfter.Microseconds()
		holds = min(holds, first-first/maxDrift-2) // 1 for each of the roundings below
	}
	if c.sent+holds <= c.got {
		return
	}
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resets.Load() != resets {
		return
	}
	if _, known := s.empty[key]; !known {
		key = strings.Clone(key) // the caller's may be part of a larger buffer
		s.makeRoom(m.room, c.got)
	}
	s.empty[key] = refusal{bucket: bucket, got: c.got, holdsTill: c.sent + holds}
}

// makeRoom drops a refusal where there are too many: one that no longer holds if
// a few looks find one, else any. Whose refusal is lost is decided by Redis again.
func (s *memoryShard) makeRoom(room int, now int64) {
	if len(s.empty) < room {
		return
	}
	looks, victim := 8, ""
	for key, known := range s.empty { // in random order
		victim = key
		if looks--; known.holdsTill <= now || looks == 0 {
			break
		}
	}
	delete(s.empty, victim)
}

// level is the lowest level in units that a refusal agrees with. With whole tokens
// a second it is the level; otherwise the reply has rounded it, and Remaining may be
// told one micro-token too low, RetryAfter of another cost 1 µs too long.
func (m *memory) level(d *limit.Decision, cost int64) int64 {
	unit, tokens := m.limit.Rate.Seconds*limit.MicroToken, m.limit.Rate.Tokens
	level := d.Remaining * m.limit.Rate.Seconds
	if d.RetryAfter > 0 {
		level = max(level, cost*unit-d.RetryAfter.Microseconds()*tokens)
	}
	if d.ResetAfter > 0 {
		level = max(level, m.limit.Capacity*unit-d.ResetAfter.Microseconds()*tokens)
	}
	return level
}

// forget makes the next take of key ask Redis.
func (m *memory) forget(key string) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resets.Add(1)
	delete(s.empty, key)
}

// len returns how many refusals are remembered.
func (m *memory) len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += len(s.empty)
		s.mu.RUnlock()
	}
	return n
}
