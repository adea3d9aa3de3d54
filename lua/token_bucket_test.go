package lua_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/lua"
)

const start = int64(1_760_000_000_000_000) // µs since the epoch, October 2025

// A call is one EVALSHA: takes decided at one instant, in order.
type call struct {
	limit limit.Limit
	now   int64
	keys  []string
	costs []int64
}

// FuzzStepEqualsScript reads a history out of bytes (limits, time steps
// forwards and backwards, keys, costs) and has the pure step and the script
// decide it: every decision must be equal, and so must every stored bucket.
// The script runs on the embedded store, and on a real Redis where there is one.
func FuzzStepEqualsScript(f *testing.F) {
	stores := map[string]redis.UniversalClient{"embedded": open(f, "redis://"+miniredis.RunT(f).Addr())}
	if url, there := limittest.TryRedis(f); there {
		stores["redis"] = open(f, url)
	}
	for seed := range uint64(200) {
		history := make([]byte, 40+seed*2)
		random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
		_, _ = random.Read(history)
		f.Add(history)
	}
	f.Fuzz(func(t *testing.T, history []byte) {
		calls := readHistory(history)
		want, states := replay(calls)
		for name, rdb := range stores {
			compare(t, name, rdb, calls, want, states)
		}
	})
}

func open(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	rdb := redis.NewClient(options)
	tb.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.ScriptLoad(context.Background(), lua.TokenBucket).Err(); err != nil {
		tb.Fatal(err)
	}
	return rdb
}

// replay is what the pure step says.
func replay(calls []call) (decisions [][]limit.Decision, states map[string]limit.State) {
	states = make(map[string]limit.State)
	for _, c := range calls {
		var said []limit.Decision
		for i, key := range c.keys {
			d, after := c.limit.Take(states[key], c.now, c.costs[i])
			states[key] = after
			said = append(said, d)
		}
		decisions = append(decisions, said)
	}
	return decisions, states
}

// compare has the script decide the same calls on an empty store.
func compare(t *testing.T, name string, rdb redis.UniversalClient, calls []call, want [][]limit.Decision, states map[string]limit.State) {
	t.Helper()
	ctx := context.Background()
	if err := rdb.FlushDB(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for n, c := range calls {
		got := evaluate(t, rdb, c)
		for i := range c.keys {
			if got[i] != want[n][i] {
				t.Fatalf("%s: call %d (%s at %d), take %d of %s, cost %d\nscript %+v\n  step %+v",
					name, n, c.limit, c.now, i, c.keys[i], c.costs[i], got[i], want[n][i])
			}
		}
	}
	for key, s := range states {
		stored, err := rdb.Get(ctx, key).Result()
		if expected := pack(s); stored != expected || (err != nil) != (expected == "") {
			t.Fatalf("%s: %s is stored as %q (%v), want %q", name, key, stored, err, expected)
		}
	}
}

// pack writes a state as the script stores it; a full bucket is absent.
func pack(s limit.State) string {
	switch {
	case s.At == 0:
		return ""
	case s.Seconds == 1:
		return fmt.Sprintf("%016d%d", s.At, s.Level)
	}
	return fmt.Sprintf("%016d%d/%d", s.At, s.Level, s.Seconds)
}

// script is the digest by which a call runs it.
var script = redis.NewScript(lua.TokenBucket)

func evaluate(tb testing.TB, rdb redis.UniversalClient, c call) []limit.Decision {
	tb.Helper()
	args := []any{c.limit.Rate.Tokens, c.limit.Rate.Seconds, c.limit.Capacity}
	for _, cost := range c.costs {
		args = append(args, cost)
	}
	args = append(args, strconv.FormatInt(c.now, 10))
	reply, err := script.EvalSha(context.Background(), rdb, c.keys, args...).Int64Slice()
	if err != nil || len(reply) != 5*len(c.keys) {
		tb.Fatalf("script: %d numbers, %v, want %d", len(reply), err, 5*len(c.keys))
	}
	decisions := make([]limit.Decision, len(c.keys))
	for i := range decisions {
		r := reply[5*i:]
		decisions[i] = limit.Decision{
			Allowed: r[0] == 1, Remaining: r[1], RetryAfter: wait(r[2]), ResetAfter: wait(r[3]), DecidedAt: r[4],
		}
	}
	return decisions
}

func wait(us int64) time.Duration {
	if us < 0 {
		return limit.Never
	}
	return time.Duration(us) * time.Microsecond
}

// readHistory makes at most 30 calls of whatever bytes it is given.
func readHistory(history []byte) []call {
	d := &dice{history}
	l := d.limit()
	now := start
	var calls []call
	for len(calls) < 30 && len(d.bytes) > 0 {
		if d.roll(8) == 0 {
			l = d.limit() // the limit changes under live keys
		}
		now = min(max(1, now+d.step(l)), 1<<53-1)
		c := call{limit: l, now: now}
		for range 1 + d.roll(4) {
			c.keys = append(c.keys, "key"+strconv.FormatInt(d.roll(3), 10))
			c.costs = append(c.costs, d.cost(l))
		}
		calls = append(calls, c)
	}
	return calls
}

// dice draw numbers from bytes, and zeros when these are used up.
type dice struct{ bytes []byte }

// roll returns 0 to n-1.
func (d *dice) roll(n int64) int64 {
	var word [8]byte
	size := 1
	for n > 1<<(8*size) && size < 8 {
		size++
	}
	taken := copy(word[:size], d.bytes)
	d.bytes = d.bytes[taken:]
	return int64(binary.LittleEndian.Uint64(word[:]) % uint64(n))
}

// limit draws from the whole domain, everyday sizes most often.
func (d *dice) limit() limit.Limit {
	l := limit.Limit{Rate: limit.Rate{Tokens: 1 + d.roll(20), Seconds: 1}}
	switch d.roll(6) {
	case 0:
		l.Rate.Tokens = 0
	case 1:
		l.Rate.Tokens = d.roll(1 << 51)
	case 2:
		l.Rate.Seconds = 1 + d.roll(3600)
	case 3:
		l.Rate.Seconds = 1 + d.roll(4_000_000_000)
	}
	room := (1<<53 - 1 - l.Rate.Tokens) / (l.Rate.Seconds * limit.MicroToken)
	switch d.roll(4) {
	case 0:
		l.Capacity = room
	case 1:
		l.Capacity = 1 + d.roll(room)
	default:
		l.Capacity = 1 + d.roll(min(room, 20))
	}
	return l
}

// step draws µs: none, about a token's worth, long, or backwards.
func (d *dice) step(l limit.Limit) int64 {
	token := l.Rate.Seconds * limit.MicroToken / max(1, l.Rate.Tokens)
	switch d.roll(6) {
	case 0:
		return 0
	case 1:
		return -d.roll(1 << 32)
	case 2:
		return d.roll(1 << 45)
	case 3:
		return token - 1 + d.roll(3)
	}
	return d.roll(2*token + 2)
}

func (d *dice) cost(l limit.Limit) int64 {
	switch d.roll(6) {
	case 0:
		return 0
	case 1:
		return d.roll(l.Capacity + 2)
	case 2:
		return l.Capacity
	case 3:
		return -1 - d.roll(l.Capacity)
	}
	return 1
}

// One key that is not a bucket fails the call, and nobody in it is charged.
func TestAFailedCallChargesNobody(t *testing.T) {
	ctx := context.Background()
	stores := map[string]redis.UniversalClient{"embedded": open(t, "redis://"+miniredis.RunT(t).Addr())}
	if url, there := limittest.TryRedis(t); there {
		stores["redis"] = open(t, url)
	}
	for name, rdb := range stores {
		t.Run(name, func(t *testing.T) {
			if err := rdb.HSet(ctx, "foreign", "field", "value").Err(); err != nil {
				t.Fatal(err)
			}
			err := script.EvalSha(ctx, rdb, []string{"alice", "foreign", "bob"}, 1, 1, 10, 1, 1, 1).Err()
			if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Fatalf("a hash among the buckets: %v, want WRONGTYPE", err)
			}
			if n := rdb.Exists(ctx, "alice", "bob").Val(); n != 0 {
				t.Errorf("%d of 2 buckets were charged by a call that failed", n)
			}
			if value := rdb.HGet(ctx, "foreign", "field").Val(); value != "value" {
				t.Error("the hash is gone")
			}
		})
	}
}
