package redislimit_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/api/limit/redislimit"
	"weir/lua"
)

func mustClient(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	rdb, err := redislimit.NewClient(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func mustNew(tb testing.TB, rdb redis.UniversalClient, text, prefix string) *redislimit.Limiter {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	limiter, err := redislimit.New(rdb, l, redislimit.Config{Prefix: prefix})
	if err != nil {
		tb.Fatal(err)
	}
	return limiter
}

// mustTake takes from the bucket of alice.
func mustTake(tb testing.TB, limiter limit.Limiter, cost int64) limit.Decision {
	tb.Helper()
	d, err := limiter.Take(context.Background(), "alice", cost)
	if err != nil {
		tb.Fatalf("Take(%d): %v", cost, err)
	}
	return d
}

// stores are the places where every test of this package must pass.
var stores = []struct {
	name string
	url  func(tb testing.TB) string
}{
	{"embedded", func(tb testing.TB) string { return "redis://" + miniredis.RunT(tb).Addr() }},
	{"redis", limittest.Redis},
}

// onEachStore runs test on an embedded store and on a real Redis.
func onEachStore(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			test(t, mustClient(t, store.url(t)))
		})
	}
}

func TestContract(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		var cases atomic.Int64
		t.Run("", func(t *testing.T) { // the cases are parallel: rdb must outlive them
			limittest.Run(t, func(tb testing.TB, l limit.Limit, clock *limittest.Clock) limit.Limiter {
				prefix := "case" + string(rune('a'+cases.Add(1))) + ":"
				limiter, err := redislimit.New(rdb, l, redislimit.Config{Prefix: prefix})
				if err != nil {
					tb.Fatal(err)
				}
				if clock != nil {
					redislimit.WithClock(limiter, clock.Now)
				}
				return limiter
			})
		})
	})
}

func TestNewRefusesALimit(t *testing.T) {
	if _, err := redislimit.New(nil, limit.Limit{}, redislimit.Config{}); err == nil {
		t.Error("New accepted the zero limit")
	}
}

// An absent key is a full bucket, so a key must live until its bucket is full
// and should not live longer.
func TestKeyExpiresWhenFull(t *testing.T) {
	rdb := mustClient(t, limittest.Redis(t))
	ctx := context.Background()
	limiter := mustNew(t, rdb, "20/s,capacity=3", "tb:")
	d := mustTake(t, limiter, 3)
	full := d.DecidedAt + d.ResetAfter.Microseconds()

	mustTake(t, limiter, 4) // throttled, must not prolong it
	expires := rdb.PExpireTime(ctx, "tb:alice").Val().Milliseconds() * 1000
	if expires < full || expires-full >= 1000 {
		t.Errorf("key expires at %d µs, bucket is full at %d: want 0 to 999 µs later", expires, full)
	}
	// By Redis' own clock: there while the bucket is not full, gone soon after.
	for deadline := time.Now().Add(10 * time.Second); ; {
		there := rdb.Exists(ctx, "tb:alice").Val() == 1
		now := rdb.Time(ctx).Val().UnixMicro() // after the look: a key seen to be gone was gone by now
		if !there {
			if now < full {
				t.Errorf("key gone at %d µs, bucket full only at %d", now, full)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("key still there 10 s later")
		}
	}
	if d := mustTake(t, limiter, 0); d.Remaining != 3*limit.MicroToken {
		t.Errorf("after the key expired: %+v, want a full bucket", d)
	}
	mustTake(t, mustNew(t, rdb, "0/s,capacity=3", "zero:"), 1)
	if ttl := rdb.PTTL(ctx, "zero:alice").Val(); ttl != -1 {
		t.Errorf("a bucket that never refills has a TTL of %s", ttl)
	}
}

func TestOnlyAnAdmittedTakeWrites(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		limiter := mustNew(t, rdb, "1/h,capacity=2", "tb:")
		mustTake(t, limiter, 0)
		mustTake(t, limiter, 3)
		if n := rdb.DBSize(ctx).Val(); n != 0 {
			t.Fatalf("%d keys after a look and a refusal, want 0", n)
		}
		mustTake(t, limiter, 2)
		value := rdb.Get(ctx, "tb:alice").Val()
		for _, cost := range []int64{0, 1, 2, 3} {
			mustTake(t, limiter, cost)
		}
		if after := rdb.Get(ctx, "tb:alice").Val(); after != value {
			t.Errorf("throttled takes changed %q to %q", value, after)
		}
	})
}

func TestScriptIsLoadedAgainAfterAFlush(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		limiter := mustNew(t, rdb, "0/s,capacity=3", "tb:")
		mustTake(t, limiter, 1) // never loaded
		if err := rdb.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if d := mustTake(t, limiter, 1); d.Remaining != limit.MicroToken {
			t.Errorf("after SCRIPT FLUSH: %+v, want 1 token left", d)
		}
	})
}

func TestReady(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		limiter := mustNew(t, rdb, "1/s,capacity=1", "tb:")
		for _, state := range []string{"new", "loaded"} {
			if err := limiter.Ready(ctx); err != nil {
				t.Fatalf("Ready on a %s Redis: %v", state, err)
			}
			sha := redis.NewScript(lua.TokenBucket).Hash()
			if loaded := rdb.ScriptExists(ctx, sha).Val(); len(loaded) != 1 || !loaded[0] {
				t.Fatal("Ready, but the script is not loaded")
			}
		}
	})
}

func TestReset(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		limiter := mustNew(t, rdb, "0/s,capacity=1", "tb:")
		mustTake(t, limiter, 1)
		if err := limiter.Reset(context.Background(), "alice"); err != nil {
			t.Fatal(err)
		}
		if d := mustTake(t, limiter, 1); !d.Allowed {
			t.Errorf("throttled after Reset: %+v", d)
		}
	})
}

// Redis carries the take out, and its reply is lost.
func TestALostReplyDoesNotChargeTwice(t *testing.T) {
	socket, _, _ := strings.Cut(strings.TrimPrefix(limittest.Redis(t), "unix://"), "?")
	direct := mustClient(t, "unix://"+socket)
	proxy := limittest.NewProxy(t, "unix", socket)
	retrying := redis.NewClient(&redis.Options{Addr: proxy.Addr()}) // go-redis as it comes
	t.Cleanup(func() { _ = retrying.Close() })

	for name, rdb := range map[string]redis.UniversalClient{
		"our client":            mustClient(t, "redis://"+proxy.Addr()),
		"a client that retries": retrying,
	} {
		t.Run(name, func(t *testing.T) {
			limiter := mustNew(t, rdb, "0/s,capacity=10", name)
			mustTake(t, limiter, 1) // connects, loads
			proxy.DropReply()
			_, err := limiter.Take(context.Background(), "alice", 1)
			failed := (*redislimit.Error)(nil)
			if !proxy.Dropped() || !errors.As(err, &failed) || !failed.Unknown {
				t.Fatalf("Take without an answer: %v, want an error of unknown outcome", err)
			}
			if d := mustTake(t, mustNew(t, direct, "0/s,capacity=10", name), 0); d.Remaining != 8*limit.MicroToken {
				t.Errorf("%d micro-tokens left after two takes of ten, want 8000000", d.Remaining)
			}
		})
	}
	t.Run("go-redis alone charges twice", func(t *testing.T) { // or this test could not fail
		ctx, script := context.Background(), redis.NewScript(lua.TokenBucket)
		run := func() error { return script.Run(ctx, retrying, []string{"alone"}, 0, 1, 10, 1).Err() }
		if err := run(); err != nil {
			t.Fatal(err)
		}
		proxy.DropReply()
		if err := run(); err != nil {
			t.Fatal(err)
		}
		if left := script.Run(ctx, direct, []string{"alone"}, 0, 1, 10, 0).Val().([]any)[1]; left != int64(7*limit.MicroToken) {
			t.Errorf("%d micro-tokens left after two takes of ten: the proxy does not bite", left)
		}
	})
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	locked := miniredis.RunT(t)
	locked.RequireAuth("secret")
	loading := miniredis.RunT(t)
	loading.SetError("LOADING Redis is loading the dataset in memory")
	taken := miniredis.RunT(t)
	taken.HSet("alice", "field", "value")
	for _, test := range []struct {
		name, url, want string
		unknown         bool
	}{
		{"nobody listens", "redis://" + closedPort(t), "is Redis running", false},
		{"a password is needed", "redis://" + locked.Addr(), "put user and password into REDIS_URL", false},
		{"a wrong password", "redis://:wrong@" + locked.Addr(), "put user and password into REDIS_URL", false},
		{"Redis is loading", "redis://" + loading.Addr(), "wait until it has", false},
		{"the key is something else", "redis://" + taken.Addr(), "choose another prefix", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := mustNew(t, mustClient(t, test.url), "1/s,capacity=1", "").Take(ctx, "alice", 1)
			failed := (*redislimit.Error)(nil)
			if !errors.As(err, &failed) || failed.Unknown != test.unknown || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Take: %v, want a *redislimit.Error with %q, unknown %t", err, test.want, test.unknown)
			}
			if err != nil && strings.Contains(err.Error(), "alice") {
				t.Errorf("the error names the key: %v", err)
			}
		})
	}
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// A Redis that accepts and never answers must not hold a caller beyond its deadline.
func TestTakeKeepsItsDeadline(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	limiter := mustNew(t, mustClient(t, "redis://"+listener.Addr().String()+"?read_timeout=1h&pool_timeout=1h"), "1/s,capacity=1", "")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = limiter.Take(ctx, "alice", 1)
	if !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("Take: %v, want a timeout", err)
	}
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestNewClientRefuses(t *testing.T) {
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://host/notanumber", "redis://u:hunter2@ho st/0", "redis://localhost?colour=red", "redis://a:1?addr=b:2&colour=red"} {
		_, err := redislimit.NewClient(url)
		if err == nil || !strings.Contains(err.Error(), "want redis://") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("NewClient(%q): %v, want an error that says what is right and no password", url, err)
		}
	}
}

// Two processes must agree on a bucket: two clients of one Redis do.
func TestLimitersOverOneRedisShareBuckets(t *testing.T) {
	onEachStore(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, other := mustNew(t, rdb, "0/s,capacity=3", "tb:"), mustNew(t, rdb, "0/s,capacity=3", "tb:")
		mustTake(t, one, 2)
		if d := mustTake(t, other, 2); d.Allowed || d.Remaining != limit.MicroToken {
			t.Errorf("the other limiter decided %+v, want throttled with 1 token left", d)
		}
		if d := mustTake(t, mustNew(t, rdb, "0/s,capacity=3", "another:"), 3); !d.Allowed {
			t.Errorf("another prefix decided %+v, want admitted", d)
		}
	})
}

// The embedded store speaks as a cluster of one node.
func TestTakeOnACluster(t *testing.T) {
	node := miniredis.RunT(t).Addr()
	rdb := mustClient(t, "redis://"+node+"?addr="+node)
	if _, cluster := rdb.(*redis.ClusterClient); !cluster {
		t.Fatalf("a URL with addr made a %T, want a cluster client", rdb)
	}
	limiter := mustNew(t, rdb, "0/s,capacity=2", "tb:")
	if err := limiter.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, true, false} {
		if d := mustTake(t, limiter, 1); d.Allowed != want {
			t.Errorf("Take = %+v, want allowed %t", d, want)
		}
	}
}
