package redislimit

// WithClock has the script go by now, in µs, instead of by Redis' own clock.
// Only tests can do this: production code sees no such function.
func WithClock(r *Limiter, now func() int64) { r.now = now }
