package peers

import (
	"context"
	"fmt"
	"sync"
	"time"

	golimiter "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"golang.org/x/time/rate"

	"weir/api/limit"
)

// inProcess are the limiters whose state is in this process. They share no
// promise with a second one; they are here to show what the network costs.
func inProcess() []Peer {
	return []Peer{
		{Name: "go-limiter", Module: "github.com/sethvargo/go-limiter", Windows: true, Open: openGoLimiter},
		{Name: "x-time-rate", Module: "golang.org/x/time", Open: openTimeRate},
	}
}

// openGoLimiter has a fixed window, filled at once: whole tokens left, and the
// end of the window.
func openGoLimiter(_ *Env, l limit.Limit, _ string) (limit.Limiter, error) {
	store, err := GoLimiter(l)
	if err != nil {
		return nil, err
	}
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		if cost != 1 {
			return limit.Decision{}, errCost
		}
		_, remaining, reset, ok, err := store.Take(ctx, key)
		if err != nil {
			return limit.Decision{}, fmt.Errorf("go-limiter: %w", err)
		}
		d := limit.Decision{Allowed: ok, Remaining: int64(remaining) * limit.MicroToken}
		d.ResetAfter = max(time.Until(time.Unix(0, int64(reset))), 0)
		if !ok {
			d.RetryAfter = d.ResetAfter
		}
		return d, nil
	}, close: func() error { return store.Close(context.Background()) }}, nil
}

// GoLimiter is go-limiter's store in memory.
func GoLimiter(l limit.Limit) (golimiter.Store, error) {
	store, err := memorystore.New(&memorystore.Config{Tokens: uint64(l.Capacity), Interval: window(l)})
	if err != nil {
		return nil, fmt.Errorf("go-limiter: %w", err)
	}
	return store, nil
}

// openTimeRate has a token bucket in floating point, and tells yes or no.
func openTimeRate(_ *Env, l limit.Limit, _ string) (limit.Limiter, error) {
	buckets := TimeRate(l)
	return &adapter{limit: l, take: func(_ context.Context, key string, cost int64) (limit.Decision, error) {
		return limit.Decision{Allowed: buckets(key).AllowN(time.Now(), int(cost))}, nil
	}}, nil
}

// TimeRate is a limiter of x/time/rate for each key, kept forever: the library
// leaves keys to its user.
func TimeRate(l limit.Limit) func(key string) *rate.Limiter {
	var buckets sync.Map
	return func(key string) *rate.Limiter {
		bucket, there := buckets.Load(key)
		if !there {
			bucket, _ = buckets.LoadOrStore(key, rate.NewLimiter(rate.Limit(l.Rate.PerSecond()), int(l.Capacity)))
		}
		return bucket.(*rate.Limiter) //nolint:forcetypeassert // it holds nothing else
	}
}
