package redislimit_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
)

func mustConfig(tb testing.TB, rdb redis.UniversalClient, text string, c redislimit.Config) *redislimit.Limiter {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	limiter, err := redislimit.New(rdb, l, c)
	if err != nil {
		tb.Fatal(err)
	}
	return limiter
}

// until waits for a condition that must come to hold.
func until(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 10 s: %s", what)
		}
	}
}

// A gate is a network that holds back what is sent to Redis while it is shut.
type gate struct {
	shut   sync.RWMutex
	before chan struct{} // gets one for each call that has come to the gate
	mu     sync.Mutex
	sizes  []int // how many keys each call had

	passing func(call int) // is told when a call leaves, from 1 on
	after   func()         // is told once when an answer has come
}

func newGate(rdb redis.UniversalClient) *gate {
	g := &gate{before: make(chan struct{}, 1)}
	rdb.AddHook(g)
	return g
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			size, _ := strconv.Atoi(cmd.Args()[2].(string))
			g.mu.Lock()
			g.sizes = append(g.sizes, size)
			call := len(g.sizes)
			g.mu.Unlock()
			select {
			case g.before <- struct{}{}:
			default: // nobody looks
			}
			g.shut.RLock()
			defer g.shut.RUnlock()
			g.mu.Lock()
			passing := g.passing
			g.mu.Unlock()
			if passing != nil {
				passing(call)
			}
		}
		err := next(ctx, cmd)
		if cmd.Name() == "evalsha" {
			g.mu.Lock()
			after := g.after
			g.after = nil
			g.mu.Unlock()
			if after != nil {
				after()
			}
		}
		return err
	}
}

// calls returns how many keys each call had.
func (g *gate) calls() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sizes)
}

// Takes that find all slots taken share the next call, in order of arrival.
func TestTakesThatWaitShareACall(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		limiter := mustConfig(t, rdb, "0/s,capacity=100", redislimit.Config{Prefix: "tb:", Slots: 1, Batch: 5, Remember: -1})
		if err := limiter.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		g := newGate(rdb)
		g.shut.Lock()
		var group sync.WaitGroup
		left := make([]int64, 9)
		for i := range left {
			group.Go(func() {
				d, err := limiter.Take(context.Background(), "alice", int64(i+1))
				if err != nil || !d.Allowed {
					t.Errorf("take %d: %+v, %v", i, d, err)
				}
				left[i] = d.Remaining / limit.MicroToken
			})
			if i == 0 {
				<-g.before // it goes out at once
			} else {
				until(t, "the take waits", func() bool { return redislimit.Waiting(limiter) == i })
			}
		}
		g.shut.Unlock()
		group.Wait()
		if sizes := g.calls(); !slices.Equal(sizes, []int{1, 5, 3}) {
			t.Errorf("calls of %v takes, want 1, then 5 (a batch), then 3", sizes)
		}
		if want := []int64{99, 97, 94, 90, 85, 79, 72, 64, 55}; !slices.Equal(left, want) {
			t.Errorf("tokens left after each take %v, want %v: not in order of arrival", left, want)
		}
		until(t, "the slot is free again", func() bool { return redislimit.FreeSlots(limiter) == 1 })
	})
}

// A batch with every kind of take decides each as if it were alone.
func TestABatchDecidesEachTakeExactly(t *testing.T) {
	rdb := mustClient(t, limittest.Redis(t))
	limiter := mustConfig(t, rdb, "3/s,capacity=10", redislimit.Config{Prefix: "tb:", Slots: 1, Remember: -1})
	type taken struct {
		key  string
		cost int64
		limit.Decision
	}
	var mu sync.Mutex
	var all []taken
	var group sync.WaitGroup
	for c := range 50 {
		group.Go(func() {
			for i := range 100 {
				key, cost := fmt.Sprint("key", (c+i)%7), int64(c*i%4)
				d, err := limiter.Take(context.Background(), key, cost)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, taken{key, cost, d})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	// By Redis' clock, and within one instant by falling level, charges before what
	// changes nothing, the takes must be a history of the pure step.
	charges := func(x taken) int {
		if x.Allowed && x.cost > 0 {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b taken) int {
		return cmp.Or(cmp.Compare(a.DecidedAt, b.DecidedAt), cmp.Compare(b.Remaining, a.Remaining), charges(b)-charges(a))
	})
	l := limiter.Limit()
	states := map[string]limit.State{}
	for _, x := range all {
		want, after := l.Take(states[x.key], x.DecidedAt, x.cost)
		if want != x.Decision {
			t.Fatalf("take of %s, cost %d\n got %+v\nwant %+v", x.key, x.cost, x.Decision, want)
		}
		states[x.key] = after
	}
}

func TestABatchReloadsTheScript(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		limiter := mustConfig(t, rdb, "0/s,capacity=100", redislimit.Config{Prefix: "tb:", Slots: 1, Remember: -1})
		mustTake(t, limiter, 1)
		g := newGate(rdb)
		g.shut.Lock()
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { mustTake(t, limiter, 1) })
		}
		until(t, "nine takes wait", func() bool { return redislimit.Waiting(limiter) == 9 })
		if err := rdb.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		g.shut.Unlock()
		group.Wait()
		if d := mustTake(t, limiter, 0); d.Remaining != 89*limit.MicroToken {
			t.Errorf("%d micro-tokens left after 11 takes of 100, want 89000000", d.Remaining)
		}
	})
}

// One key that is something else fails alone, whatever it was batched with.
func TestOneForeignKeyFailsAlone(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		limiter := mustConfig(t, rdb, "0/s,capacity=1", redislimit.Config{Prefix: "tb:", Slots: 1, Remember: -1})
		if err := rdb.HSet(ctx, "tb:key3", "field", "value").Err(); err != nil {
			t.Fatal(err)
		}
		g := newGate(rdb)
		g.shut.Lock()
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				d, err := limiter.Take(ctx, fmt.Sprint("key", i), 1)
				failed := (*redislimit.Error)(nil)
				if i == 3 && (!errors.As(err, &failed) || failed.Unknown || !strings.Contains(err.Error(), "WRONGTYPE")) {
					t.Errorf("take of a hash: %+v, %v, want WRONGTYPE, not charged", d, err)
				}
				if i != 3 && (err != nil || !d.Allowed) {
					t.Errorf("key%d: %+v, %v, want admitted", i, d, err)
				}
			})
		}
		until(t, "nine takes wait", func() bool { return redislimit.Waiting(limiter) == 9 })
		g.shut.Unlock()
		group.Wait()
		for i := range 10 {
			if d, _ := limiter.Take(ctx, fmt.Sprint("key", i), 1); d.Allowed {
				t.Errorf("key%d was not charged", i)
			}
		}
	})
}

// Redis carries a batch out, and its reply is lost: all of it is unknown, and
// each take is charged once.
func TestALostReplyDoesNotChargeABatchTwice(t *testing.T) {
	socket, _, _ := strings.Cut(strings.TrimPrefix(limittest.Redis(t), "unix://"), "?")
	proxy := limittest.NewProxy(t, "unix", socket)
	rdb := mustClient(t, "redis://"+proxy.Addr())
	limiter := mustConfig(t, rdb, "0/s,capacity=100", redislimit.Config{Slots: 1, Remember: -1})
	mustTake(t, limiter, 1) // connects, loads
	g := newGate(rdb)
	g.shut.Lock()
	errs := make(chan error, 20)
	take := func() {
		_, err := limiter.Take(context.Background(), "alice", 1)
		errs <- err
	}
	go take()
	<-g.before
	for range 19 {
		go take()
	}
	until(t, "19 takes wait", func() bool { return redislimit.Waiting(limiter) == 19 })
	g.mu.Lock()
	g.passing = func(call int) {
		if call == 2 { // the first has one take, the second all the others
			proxy.DropReply()
		}
	}
	g.mu.Unlock()
	g.shut.Unlock()
	unknown := 0
	for range 20 {
		err := <-errs
		failed := (*redislimit.Error)(nil)
		if errors.As(err, &failed) && failed.Unknown {
			unknown++
		} else if err != nil {
			t.Errorf("Take: %v", err)
		}
	}
	if unknown != 19 || !proxy.Dropped() {
		t.Errorf("%d of 20 takes unknown, want the 19 of the batch", unknown)
	}
	direct := mustConfig(t, mustClient(t, "unix://"+socket), "0/s,capacity=100", redislimit.Config{})
	if d := mustTake(t, direct, 0); d.Remaining != 79*limit.MicroToken {
		t.Errorf("%d micro-tokens left after 21 takes of 100, want 79000000", d.Remaining)
	}
}

// A Redis that accepts and never answers: takes leave at their deadlines, those
// that were not sent say so, the queue is bounded, and nothing is left behind.
func TestWhileRedisStalls(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	rdb := mustClient(t, "redis://"+listener.Addr().String()+"?read_timeout=100ms")
	limiter := mustConfig(t, rdb, "1/s,capacity=1", redislimit.Config{Slots: 2, Batch: 10, MaxWaiting: 50})
	goroutines := runtime.NumGoroutine()

	var mu sync.Mutex
	var sent, unsent, busy int
	take := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, err := limiter.Take(ctx, "alice", 1)
		failed := (*redislimit.Error)(nil)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !errors.As(err, &failed):
			t.Errorf("Take: %v, want a *redislimit.Error", err)
		case errors.Is(err, redislimit.ErrBusy):
			busy++
			if failed.Unknown || !strings.Contains(err.Error(), "ask less") {
				t.Errorf("refused with %v, want a known outcome and a way out", err)
			}
		case !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err):
			t.Errorf("Take: %v, want a timeout", err)
		case failed.Unknown:
			sent++
		default:
			unsent++
		}
	}
	for range 5 {
		var group sync.WaitGroup
		for range 200 {
			group.Go(take)
		}
		group.Wait()
		if waiting := redislimit.Waiting(limiter); waiting != 0 {
			t.Fatalf("%d takes still in the queue after all have left", waiting)
		}
	}
	if sent == 0 || unsent == 0 || busy == 0 {
		t.Errorf("%d takes unknown, %d not sent, %d refused: want some of each", sent, unsent, busy)
	}
	until(t, "all slots free", func() bool { return redislimit.FreeSlots(limiter) == 2 })
	until(t, "no goroutine left behind", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// A take that gave up while it waited is never sent: the first of the queue, one
// within it, the last.
func TestATakeThatLeftTheQueueIsNotCharged(t *testing.T) {
	rdb := mustClient(t, "redis://"+miniredis.RunT(t).Addr())
	limiter := mustConfig(t, rdb, "0/s,capacity=10", redislimit.Config{Slots: 1, Remember: -1})
	if err := limiter.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := newGate(rdb)
	g.shut.Lock()
	var stay, leave sync.WaitGroup
	stay.Go(func() { mustTake(t, limiter, 1) })
	<-g.before
	leaving, cancel := context.WithCancel(context.Background())
	for i := range 5 {
		if i%2 == 1 {
			stay.Go(func() { mustTake(t, limiter, 1) })
		} else {
			leave.Go(func() {
				_, err := limiter.Take(leaving, "alice", 1)
				failed := (*redislimit.Error)(nil)
				if !errors.As(err, &failed) || failed.Unknown || !errors.Is(err, context.Canceled) {
					t.Errorf("Take: %v, want cancelled and not charged", err)
				}
			})
		}
		until(t, "the take waits", func() bool { return redislimit.Waiting(limiter) == i+1 })
	}
	cancel()
	leave.Wait() // the gate is still shut: they did not wait for it
	g.shut.Unlock()
	stay.Wait()
	if d := mustTake(t, limiter, 0); d.Remaining != 7*limit.MicroToken {
		t.Errorf("%d micro-tokens left of 10 tokens, want 7000000: 3 takes stayed", d.Remaining)
	}
	if sizes := g.calls(); !slices.Equal(sizes, []int{1, 2, 1}) {
		t.Errorf("calls of %v takes, want 1, 2 and the look", sizes)
	}
}

// On a real cluster a call whose keys are in two slots is an error. Each key must
// have its own bucket, and each limiter must be fast again with a hash tag.
func TestBatchesOnACluster(t *testing.T) {
	rdb := mustClient(t, limittest.Cluster(t))
	for name, prefix := range map[string]string{"spread": "tb:", "in one slot": "tb:{user}:"} {
		t.Run(name, func(t *testing.T) {
			limiter := mustConfig(t, rdb, "0/s,capacity=3", redislimit.Config{Prefix: prefix, Slots: 1, Remember: -1})
			if err := limiter.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			admitted := make([]atomic.Int64, 50)
			var group sync.WaitGroup
			for c := range 20 {
				group.Go(func() {
					for i := range admitted {
						i = (i + c) % len(admitted)
						d, err := limiter.Take(context.Background(), fmt.Sprint("key", i), 1)
						if err != nil {
							t.Error(err)
							return
						}
						if d.Allowed {
							admitted[i].Add(1)
						}
					}
				})
			}
			group.Wait()
			for i := range admitted {
				if n := admitted[i].Load(); n != 3 {
					t.Errorf("key%d: %d takes of 20 admitted, want 3", i, n)
				}
			}
		})
	}
	for _, key := range []string{"", "123456789", "tb:user:alice", "{user}:a", "a{b}c{d}", "{}a", "a{", "}{x}", "ключ", "\x00\xff"} {
		want, err := rdb.ClusterKeySlot(context.Background(), key).Result()
		if got := redislimit.HashSlot(key); err != nil || int64(got) != want {
			t.Errorf("HashSlot(%q) = %d, the cluster says %d, %v", key, got, want, err)
		}
	}
}
