package redislimit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"weir/api/limit"
)

const (
	leaseIdle = 200 * time.Millisecond // after which unspent tokens go back
	maxLeases = 4096                   // keys that have a lease; takes of others are decided by Redis
	backTime  = time.Second            // that giving one key's tokens back may take
)

// leases are tokens that were taken from their buckets before anybody asked for
// them, to be spent in this process without asking Redis.
//
// A key's lease grows with its use: a take that has to ask Redis takes some more
// tokens along, none the first time, then 1, 2, 4 and so on up to Config.Lease
// while each lease is spent within leaseIdle, half of it when it took longer, none
// again when the bucket has too few. What nobody has spent for leaseIdle goes back
// into the bucket, as far as it fits.
//
// Tokens are charged before they are spent, and one process holds at most
// Config.Lease of a key, those on their way back included. So what is admitted in
// any time t is at most
//
//	capacity + rate × t + processes × lease
//
// and, since a lost token is never replaced, over a long time at most rate × t. A
// process that dies, or whose give-back gets no answer, loses its tokens to the key.
type leases struct {
	limiter *Limiter
	most    int64 // tokens a lease holds

	sweeping sync.Mutex // one sweep at a time, so that close has waited for the last

	mu     sync.Mutex
	held   map[string]*lease
	timer  *time.Timer // runs while there are leases
	closed bool
}

// A lease is what this process holds of one key.
type lease struct {
	left   int64       // tokens
	bucket limit.State // as Redis last said, with left in it
	got    int64       // when that was, by Limiter.clock
	want   int64       // tokens to take along next time
	asked  int64       // when some were last taken along
	used   int64       // when the key was last taken from
	busy   bool        // a call that changes left is under way: left is 0 or waits
}

func newLeases(r *Limiter, most int64) *leases {
	return &leases{limiter: r, most: most, held: make(map[string]*lease)}
}

// take decides one take, from the lease or from the bucket.
func (ls *leases) take(ctx context.Context, key string, cost int64) (limit.Decision, error) {
	d, along, spent := ls.spend(key, cost) //nolint:contextcheck // giving back is no caller's business
	if spent {
		return d, nil
	}
	if along == 0 {
		return ls.limiter.ask(ctx, key, cost)
	}
	d, err := ls.limiter.ask(ctx, key, cost+along)
	if d, done := ls.settle(key, along, d, err); done {
		return d, err
	}
	return ls.limiter.ask(ctx, key, cost) // Redis refused both together and charged nothing
}

// spend takes from the lease of key. Where that has too little, it says how many
// tokens to take along; if any, the lease is busy until settle.
func (ls *leases) spend(key string, cost int64) (d limit.Decision, along int64, spent bool) {
	now := ls.limiter.clock()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.held[key]
	switch {
	case cost < 1 || ls.closed:
		return d, 0, false
	case l == nil:
		ls.open(key, now)
		return d, 0, false
	}
	l.used = now
	if l.left >= cost {
		l.left -= cost
		d, l.bucket = ls.limiter.limit.Take(l.bucket, l.bucket.At+max(0, now-l.got), cost)
		l.got = max(now, l.got)
		d.DecidedAt = 0 // not by Redis' clock
		return d, 0, true
	}
	if l.busy {
		return d, 0, false
	}
	if now-l.asked > leaseIdle.Microseconds() {
		l.want /= 2
	} else {
		l.want = min(max(1, 2*l.want), ls.most)
	}
	l.asked = now
	along = min(l.want, ls.most-l.left, ls.limiter.limit.Capacity-cost)
	if along < 1 {
		return d, 0, false
	}
	l.busy = true
	return d, along, false
}

// open begins to watch a key.
func (ls *leases) open(key string, now int64) {
	if len(ls.held) >= maxLeases {
		return
	}
	ls.held[strings.Clone(key)] = &lease{used: now, asked: now}
	if ls.timer == nil {
		ls.timer = time.AfterFunc(leaseIdle, func() {
			_ = ls.sweep(false) // what could not be given back is lost to the key: see leases
		})
	}
}

// settle puts what was taken along into the lease. It is not done where Redis has
// refused: the caller's own tokens may be there.
func (ls *leases) settle(key string, along int64, d limit.Decision, err error) (limit.Decision, bool) {
	limiter := ls.limiter
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.held[key] // a busy lease is not dropped
	l.busy = false
	switch {
	case err != nil:
		return d, true
	case !d.Allowed:
		l.want = 0
		return d, false
	}
	l.left += along
	unit := limiter.limit.Rate.Seconds * limit.MicroToken
	l.bucket = limit.State{
		At:      d.DecidedAt,
		Level:   min(d.Remaining*limiter.limit.Rate.Seconds+l.left*unit, limiter.limit.Capacity*unit),
		Seconds: limiter.limit.Rate.Seconds,
	}
	l.got = limiter.clock()
	seen, _ := limiter.limit.Take(l.bucket, d.DecidedAt, 0) // as if the lease were in the bucket
	return seen, true
}

// sweep gives back what is idle, or everything, and forgets keys that are.
func (ls *leases) sweep(everything bool) error {
	type unspent struct {
		key    string
		tokens int64
	}
	var back []unspent
	ls.sweeping.Lock()
	defer ls.sweeping.Unlock()
	ls.mu.Lock()
	idle := ls.limiter.clock() - leaseIdle.Microseconds()
	for key, l := range ls.held {
		switch {
		case l.busy || !everything && l.used > idle:
		case l.left == 0:
			delete(ls.held, key)
		default:
			l.busy = true
			back = append(back, unspent{key, l.left})
			l.left = 0
		}
	}
	ls.mu.Unlock()

	errs := make([]error, 0, len(back))
	for _, u := range back {
		errs = append(errs, ls.giveBack(u.key, u.tokens))
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.held) == 0 || ls.closed {
		ls.timer = nil
	} else {
		ls.timer.Reset(leaseIdle)
	}
	return errors.Join(errs...)
}

// giveBack puts tokens back into the bucket of key, once. Without an answer they
// may be lost.
func (ls *leases) giveBack(key string, tokens int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), backTime)
	defer cancel()
	_, err := ls.limiter.ask(ctx, key, -tokens)
	ls.limiter.forget(key) // there are tokens again
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.held[key].busy = false
	return err
}

// drop forgets the lease of key without giving it back.
func (ls *leases) drop(key string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.held[key]; l != nil {
		l.left = 0
	}
}

// close gives everything back, and leases no more.
func (ls *leases) close() error {
	ls.mu.Lock()
	ls.closed = true
	if ls.timer != nil {
		ls.timer.Stop()
	}
	ls.mu.Unlock()
	return ls.sweep(true)
}
