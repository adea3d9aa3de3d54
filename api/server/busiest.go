package server

import (
	"sync"

	"weir/api/limit"
)

const (
	// watchedKeys is how many keys of a route are counted: the Space-Saving
	// sketch of Metwally, Agrawal and El Abbadi (2005). A key with more than
	// 1/watchedKeys of the requests is always among them.
	watchedKeys = 64
	// shownKeys is how many of them /metrics shows, over all routes.
	shownKeys = 20
	// halfLife is how many seconds it takes a key to count half.
	halfLife = 10
)

// busiest follows the tokens of a route's busiest keys in bounded memory.
// A decision that finds another one at work here is left out: a sketch loses
// nothing by sampling, and no request waits.
type busiest struct {
	mu     sync.Mutex
	place  map[string]int
	keys   []watched
	halved int64 // Unix second of the last halving
}

// watched is a key and the tokens left after its last decision seen.
type watched struct {
	key       string
	count     uint64
	remaining int64 // micro-tokens
}

func newBusiest() *busiest { return &busiest{place: make(map[string]int, watchedKeys)} }

func (b *busiest) observe(key string, remaining, ts int64) {
	if !b.mu.TryLock() {
		return
	}
	defer b.mu.Unlock()
	b.halve(ts)
	if i, found := b.place[key]; found {
		b.keys[i].count++
		b.keys[i].remaining = remaining
		return
	}
	if len(b.keys) < watchedKeys {
		b.place[key] = len(b.keys)
		b.keys = append(b.keys, watched{key, 1, remaining})
		return
	}
	least := 0
	for i := range b.keys {
		if b.keys[i].count < b.keys[least].count {
			least = i
		}
	}
	delete(b.place, b.keys[least].key)
	b.place[key] = least
	b.keys[least] = watched{key, b.keys[least].count + 1, remaining}
}

// halve lets old counts fade, and forgets keys that have faded away.
func (b *busiest) halve(ts int64) {
	if ts-b.halved < halfLife {
		return
	}
	times := (ts - b.halved) / halfLife
	b.halved = ts
	kept := b.keys[:0]
	clear(b.place)
	for _, w := range b.keys {
		if w.count >>= min(times, 63); w.count > 0 {
			b.place[w.key] = len(kept)
			kept = append(kept, w)
		}
	}
	clear(b.keys[len(kept):])
	b.keys = kept
}

// snapshot returns the keys in no order.
func (b *busiest) snapshot(ts int64) []watched {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.halve(ts)
	return append([]watched(nil), b.keys...)
}

func (w watched) tokens() float64 { return float64(w.remaining) / limit.MicroToken }
