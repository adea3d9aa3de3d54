package redislimit

// WithClock has the script go by now, in µs, instead of by Redis' own clock, and
// what is remembered in this process too. Only tests can do this: production code
// sees no such function.
func WithClock(r *Limiter, now func() int64) { r.now = now }

// Waiting returns how many takes wait for a slot.
func Waiting(r *Limiter) int {
	q := r.queues.of("")
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// FreeSlots returns how many calls could go out at once.
func FreeSlots(r *Limiter) int {
	q := r.queues.of("")
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.free
}

// Remembered returns how many refusals are remembered.
func Remembered(r *Limiter) int { return r.memory.len() }

// Sweep gives idle leases back now.
func Sweep(r *Limiter) error { return r.leases.sweep(false) }

// HashSlot is the hash slot of a key on Redis Cluster.
var HashSlot = hashSlot
