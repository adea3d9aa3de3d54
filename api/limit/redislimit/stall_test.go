//go:build unix

package redislimit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
)

// A real Redis stops in the middle of its work, as under a debugger, a snapshot of
// its machine or a disk that hangs. Takes leave at their deadlines or are refused,
// goroutines and memory stay as they are, and once it goes on, each take that was
// said to be admitted has been charged once, each that was said not to be sent not
// at all, and the others at most once.
func TestARedisThatStopsAndGoesOn(t *testing.T) {
	rdb := mustClient(t, limittest.Redis(t)+"&read_timeout=100ms&dial_timeout=100ms")
	pid := redisProcess(t, rdb)
	limiter := mustConfig(t, rdb, "0/s,capacity=10", redislimit.Config{Slots: 2, Batch: 10, MaxWaiting: 50, Remember: -1})
	stalled := &stalledTakes{limiter: limiter, most: map[string]int64{}, least: map[string]int64{}}
	for range 5 {
		stalled.round(t, 20, time.Minute)
	}
	if n := len(stalled.least); n != 100 || stalled.unknown+stalled.unsent+stalled.busy != 0 {
		t.Fatalf("%d of 100 takes admitted before the stop", n)
	}

	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // ends with the test in any case
	t.Cleanup(goOn)
	stalled.round(t, 200, 20*time.Millisecond)
	until(t, "all slots free", func() bool { return redislimit.FreeSlots(limiter) == 2 })
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	for range 10 {
		stalled.round(t, 200, 20*time.Millisecond)
	}
	if stalled.unknown == 0 || stalled.unsent == 0 || stalled.busy == 0 {
		t.Errorf("%d takes unknown, %d not sent, %d refused: want some of each", stalled.unknown, stalled.unsent, stalled.busy)
	}
	until(t, "all slots free", func() bool { return redislimit.FreeSlots(limiter) == 2 })
	until(t, "no goroutine left behind", func() bool { return runtime.NumGoroutine() <= goroutines })
	// 2000 takes of about 500 bytes are what the test itself keeps.
	if grown := heapInUse() - heap; grown > 4<<20 {
		t.Errorf("memory has grown by %d bytes in 2000 takes while Redis stalled", grown)
	}

	goOn()
	until(t, "Redis answers again", func() bool { return rdb.Ping(context.Background()).Err() == nil })
	until(t, "Redis has read what was sent before", func() bool {
		text, _ := section(rdb, "clients", "connected_clients")
		return text == strconv.FormatUint(uint64(rdb.PoolStats().TotalConns), 10)
	})
	stalled.check(t)
	mustTake(t, limiter, 1)
	t.Logf("while Redis stood still: %d takes unknown, of which it has charged %d; %d not sent, %d refused",
		stalled.unknown, stalled.late, stalled.unsent, stalled.busy)
}

// stalledTakes are takes, each of a key of its own, and what may have become of them.
type stalledTakes struct {
	limiter *redislimit.Limiter

	mu                    sync.Mutex
	least, most           map[string]int64 // tokens charged
	unknown, unsent, busy int
	late                  int // unknown ones that were charged
}

// round has n callers take once, each within a deadline, and waits for all.
func (s *stalledTakes) round(t *testing.T, n int, deadline time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	s.mu.Lock()
	first := len(s.most)
	s.mu.Unlock()
	for i := range n {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			key := fmt.Sprint("take", first+i)
			d, err := s.limiter.Take(ctx, key, 1)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.most[key] = 1
			failed := (*redislimit.Error)(nil)
			switch {
			case err == nil && d.Allowed:
				s.least[key] = 1
			case !errors.As(err, &failed):
				t.Errorf("Take: %+v, %v, want admitted or a *redislimit.Error", d, err)
			case failed.Unknown:
				s.unknown++
			case errors.Is(err, redislimit.ErrBusy):
				s.most[key] = 0
				s.busy++
			default:
				s.most[key] = 0
				s.unsent++
			}
		})
	}
	group.Wait()
	if waiting := redislimit.Waiting(s.limiter); waiting != 0 {
		t.Fatalf("%d takes still wait after all have left", waiting)
	}
}

// check compares what every take was told with what it was charged.
func (s *stalledTakes) check(t *testing.T) {
	t.Helper()
	for key, most := range s.most {
		d, err := s.limiter.Take(context.Background(), key, 0)
		if err != nil {
			t.Fatal(err)
		}
		charged := 10 - d.Remaining/limit.MicroToken
		if charged < s.least[key] || charged > most {
			t.Errorf("%s was charged %d tokens, want %d to %d by what it was told", key, charged, s.least[key], most)
		}
		if charged > s.least[key] {
			s.late++
		}
	}
}

// redisProcess is the process of a private Redis.
func redisProcess(t *testing.T, rdb redis.UniversalClient) int {
	t.Helper()
	text, err := section(rdb, "server", "process_id")
	pid, convErr := strconv.Atoi(text)
	if err != nil || convErr != nil || pid <= 1 {
		t.Fatalf("process_id %q: %v, %v", text, err, convErr)
	}
	return pid
}

// section reads one field of INFO.
func section(rdb redis.UniversalClient, name, field string) (string, error) {
	info, err := rdb.Info(context.Background(), name).Result()
	_, rest, _ := strings.Cut(info, field+":")
	text, _, _ := strings.Cut(rest, "\r\n")
	return text, err
}

func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
