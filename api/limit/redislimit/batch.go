package redislimit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/api/limit"
)

// ErrBusy is in the error of a take that was refused because [Config.MaxWaiting]
// others wait for Redis already. Nothing was sent and nothing charged.
var ErrBusy = errors.New("too many takes wait for Redis")

// A queue sends takes to Redis in as few round trips as there are callers for.
//
// There are a few slots; who holds one may have a call under way. A take that
// finds a slot free goes out at once, alone, by its own goroutine. One that finds
// none waits. When a round trip ends and takes wait, its slot goes to a worker,
// which decides all that wait, up to a batch, in one call, again and again until
// nobody waits. So a lone caller pays for one lock and no goroutine, a round trip
// is shared exactly when the alternative is to wait for one, and nobody waits for
// time to pass. A take is in Redis at most one round trip after a slot was free
// for it, and the longer Redis takes, the more takes share what it costs.
//
// The worker is its own goroutine, not one of the callers, so that each caller
// can leave at its own deadline and no caller's deadline is another's.
type queue struct {
	limiter *Limiter

	mu          sync.Mutex
	free        int // slots
	waiting     int // calls in the list
	first, last *call
}

// A call is one take on its way.
type call struct {
	key  string // as Redis has it
	cost any    // text

	decision  limit.Decision
	sent, got int64 // by Limiter.clock: before the command left, after its answer was read
	err       error // of Redis; the call is not to be used again where it is set

	done       chan struct{} // one message: the fields above are set
	queued     bool          // in the list of its queue, which owns the rest
	prev, next *call
}

// callPool has calls that nobody refers to any more.
var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// take has c decided. The answer is in c unless it returns an error.
func (q *queue) take(ctx context.Context, c *call) error {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		defer q.release()             //nolint:contextcheck // those who wait have contexts of their own
		b := batchPool.Get().(*batch) //nolint:forcetypeassert // it holds nothing else
		defer batchPool.Put(b)
		b.calls = append(b.calls[:0], c)
		q.limiter.decide(ctx, b, b.calls)
		return c.err
	}
	if q.waiting >= q.limiter.config.MaxWaiting {
		q.mu.Unlock()
		return &Error{Op: "take", Err: ErrBusy}
	}
	q.push(c)
	q.mu.Unlock()

	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	if q.withdraw(c) {
		return &Error{Op: "take", Err: ctx.Err()}
	}
	select {
	case <-c.done: // it came in the same moment
		return c.err
	default:
		return &Error{Op: "take", Unknown: true, Err: ctx.Err()}
	}
}

// withdraw takes c out of the list, and reports whether it was there: if so it
// has not been sent and never will be.
func (q *queue) withdraw(c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !c.queued {
		return false
	}
	q.remove(c)
	return true
}

// push puts c at the end of the list.
func (q *queue) push(c *call) {
	c.queued, c.prev, c.next = true, q.last, nil
	if q.last == nil {
		q.first = c
	} else {
		q.last.next = c
	}
	q.last = c
	q.waiting++
}

func (q *queue) remove(c *call) {
	if c.prev == nil {
		q.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.queued, c.prev, c.next = false, nil, nil
	q.waiting--
}

// release gives a slot to those who wait, or back.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		q.free++
		return
	}
	go q.work()
}

// work holds a slot and decides what waits until nothing does. At most as many
// workers run as there are slots. Their calls end by the client's own timeouts.
func (q *queue) work() {
	b := batchPool.Get().(*batch) //nolint:forcetypeassert // it holds nothing else
	defer batchPool.Put(b)
	for q.collect(b) {
		q.limiter.decide(context.Background(), b, b.calls)
		for _, c := range b.calls {
			c.done <- struct{}{}
		}
	}
}

// collect moves the calls that have waited longest into b. Where none wait it
// gives the slot back and returns false.
func (q *queue) collect(b *batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.calls = b.calls[:0]
	for q.first != nil && len(b.calls) < q.limiter.config.Batch {
		c := q.first
		q.remove(c)
		b.calls = append(b.calls, c)
	}
	if len(b.calls) == 0 {
		q.free++
		return false
	}
	return true
}

// A batch is the memory of one round trip.
type batch struct {
	calls []*call
	args  []any
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

// decide has all calls decided, in order, and sets what they answer. A call is
// sent again only after Redis has said that nothing ran.
func (r *Limiter) decide(ctx context.Context, b *batch, calls []*call) {
	err := r.evalsha(ctx, b, calls)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = r.Load(ctx); err == nil {
			err = r.evalsha(ctx, b, calls)
		}
	}
	if err == nil {
		return
	}
	if len(calls) > 1 && oneSpoilsAll(err) {
		half := len(calls) / 2
		r.decide(ctx, b, calls[:half])
		r.decide(ctx, b, calls[half:])
		return
	}
	failed := (*Error)(nil) // of Load
	if !errors.As(err, &failed) {
		failed = &Error{Op: "take", Unknown: mayHaveRun(err), Err: err}
	}
	for _, c := range calls {
		c.err = failed
	}
}

// oneSpoilsAll reports whether err is an answer that one key of many can cause,
// while the others could be decided: the script charges nobody then.
func oneSpoilsAll(err error) bool {
	reply := redis.Error(nil)
	return errors.As(err, &reply) &&
		(strings.Contains(err.Error(), "WRONGTYPE") || redis.IsTryAgainError(err) || strings.HasPrefix(err.Error(), "CROSSSLOT"))
}

// evalsha asks once, for all calls. It sets their answers unless it fails.
func (r *Limiter) evalsha(ctx context.Context, b *batch, calls []*call) error {
	// The first key must be a string, for the cluster client looks at it. Pointers
	// to the others cost no allocation.
	args := b.args[:0]
	args = append(args, "evalsha", r.sha, count(len(calls)), calls[0].key)
	for _, c := range calls[1:] {
		args = append(args, &c.key)
	}
	args = append(args, r.tokens, r.seconds, r.capacity)
	for _, c := range calls {
		args = append(args, c.cost)
	}
	if r.now != nil {
		args = append(args, strconv.FormatInt(r.now(), 10))
	}
	b.args = args
	cmd := once{redis.NewIntSliceCmd(ctx, args...)}
	sent := r.clock()
	err := r.rdb.Process(ctx, cmd)
	got := r.clock()
	clear(args) // nothing keeps the command after Process has returned
	if err != nil {
		return err //nolint:wrapcheck // decide wraps it
	}
	reply := cmd.Val()
	if len(reply) != 5*len(calls) {
		return fmt.Errorf("reply of %d numbers, want %d", len(reply), 5*len(calls))
	}
	for i, c := range calls {
		d := reply[5*i:]
		c.decision = limit.Decision{
			Allowed:    d[0] == 1,
			Remaining:  d[1],
			RetryAfter: wait(d[2]),
			ResetAfter: wait(d[3]),
			DecidedAt:  d[4],
		}
		c.sent, c.got = sent, got
	}
	return nil
}

// once is a command that go-redis must not send a second time after it may have
// reached Redis.
type once struct{ *redis.IntSliceCmd }

// NoRetry overrides go-redis' default of sending again.
func (once) NoRetry() bool { return true }

// count and costText avoid an allocation for the usual number.
func count(n int) any {
	if n == 1 {
		return "1"
	}
	return strconv.Itoa(n)
}

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
