package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/sethvargo/go-limiter/httplimit"
	"github.com/throttled/throttled/v2"
	"github.com/ulule/limiter/v3/drivers/middleware/stdlib"

	"weir/api/limit"
	"weir/bench/peers"
)

// serve is the process of one Go library: it serves until ctx is done.
//
//	league serve NAME LIMIT REDIS_URL
//
// Clients of Redis have go-redis' own defaults here, as a user's would.
func serve(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("got %d arguments, want NAME LIMIT REDIS_URL", len(args))
	}
	promise, err := limit.Parse(args[1])
	if err != nil {
		return fmt.Errorf("read limit: %w", err)
	}
	options, err := redis.ParseURL(args[2])
	if err != nil {
		return fmt.Errorf("read REDIS_URL: %w", err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() // the process ends
	middleware, there := middlewares[args[0]]
	if !there {
		return fmt.Errorf("no library %q", args[0])
	}
	handler, err := middleware(rdb, promise, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // the client went away
	}))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close() // nobody is served any more
	}()
	fmt.Fprintln(stdout, "listening", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// A middleware limits what it wraps.
type middleware func(rdb redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error)

// middlewares are the libraries' own where they have one; redis_rate and
// x/time/rate leave HTTP to their user.
var middlewares = map[string]middleware{
	"redis_rate":  withRedisRate,
	"throttled":   withThrottled,
	"ulule":       withUlule,
	"go-limiter":  withGoLimiter,
	"x-time-rate": withTimeRate,
}

func keyOf(r *http.Request) string { return r.Header.Get(keyHeader) }

// withRedisRate writes the headers that its result has the values for, the wait
// rounded up.
func withRedisRate(rdb redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error) {
	limiter, rate := redis_rate.NewLimiter(rdb), peers.RedisRate(l)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := limiter.Allow(r.Context(), keyOf(r), rate)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(result.Remaining))
		if result.Allowed == 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(result.RetryAfter.Seconds()))))
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

func withThrottled(rdb redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error) {
	limiter, err := peers.Throttled(rdb, l, "throttled:")
	if err != nil {
		return nil, err
	}
	http := throttled.HTTPRateLimiterCtx{RateLimiter: limiter, VaryBy: &throttled.VaryBy{Headers: []string{keyHeader}}}
	return http.RateLimit(next), nil
}

func withUlule(rdb redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error) {
	limiter, err := peers.Ulule(rdb, l, "ulule")
	if err != nil {
		return nil, err
	}
	return stdlib.NewMiddleware(limiter, stdlib.WithKeyGetter(keyOf)).Handler(next), nil
}

func withGoLimiter(_ redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error) {
	store, err := peers.GoLimiter(l)
	if err != nil {
		return nil, err
	}
	m, err := httplimit.NewMiddleware(store, httplimit.IPKeyFunc(keyHeader))
	if err != nil {
		return nil, fmt.Errorf("go-limiter: %w", err)
	}
	return m.Handle(next), nil
}

func withTimeRate(_ redis.UniversalClient, l limit.Limit, next http.Handler) (http.Handler, error) {
	buckets := peers.TimeRate(l)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !buckets(keyOf(r)).Allow() {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}
