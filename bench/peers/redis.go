package peers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/goredisstore.v9"
	ulule "github.com/ulule/limiter/v3"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"

	"weir/api/limit"
	"weir/lua"
)

// overRedis are the limiters whose state is in Redis, and our script called in
// other ways: by a bare client, and by another client library.
func overRedis() []Peer {
	return []Peer{
		{Name: "evalsha", Module: "github.com/redis/go-redis/v9", Redis: true, Open: openEvalSHA},
		{Name: "autopipeline", Module: "github.com/redis/go-redis/v9", Redis: true, Open: openAutoPipeline},
		{Name: "rueidis", Module: "github.com/redis/rueidis", Redis: true, Open: openRueidis},
		{Name: "redis_rate", Module: "github.com/go-redis/redis_rate/v10", Redis: true, Open: openRedisRate},
		{Name: "throttled", Module: "github.com/throttled/throttled/v2", Redis: true, Open: openThrottled},
		{Name: "ulule", Module: "github.com/ulule/limiter/v3", Redis: true, Windows: true, Open: openUlule},
	}
}

// errCost is for libraries that take one token at a time.
var errCost = errors.New("this library takes one token at a time")

// openEvalSHA calls our script as a Go user would who has only go-redis:
// redis.Script.Run and a slice of numbers.
func openEvalSHA(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	return scripted(env.Redis, l, prefix), nil
}

// openAutoPipeline does the same over the client of go-redis that writes the
// calls of all callers together.
func openAutoPipeline(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	client, ok := env.Redis.(*redis.Client)
	if !ok {
		return nil, fmt.Errorf("autopipeline: not for a %T", env.Redis)
	}
	pipeliner, err := client.AutoPipeline() // the same one each time; it is closed with the client
	if err != nil {
		return nil, fmt.Errorf("autopipeline: %w", err)
	}
	return scripted(pipeliner, l, prefix), nil
}

// scripted calls our script with EVALSHA.
func scripted(client redis.Scripter, l limit.Limit, prefix string) *adapter {
	script := redis.NewScript(lua.TokenBucket)
	tokens, seconds, capacity := l.Rate.Tokens, l.Rate.Seconds, l.Capacity
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		reply, err := script.Run(ctx, client, []string{prefix + key}, tokens, seconds, capacity, cost).Int64Slice()
		if err != nil {
			return limit.Decision{}, fmt.Errorf("evalsha: %w", err)
		}
		return decision(reply)
	}}
}

// openRueidis calls our script over rueidis, which pipelines all callers over
// one connection.
func openRueidis(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	script := rueidis.NewLuaScript(lua.TokenBucket)
	tokens, seconds, capacity := text(l.Rate.Tokens), text(l.Rate.Seconds), text(l.Capacity)
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		reply, err := script.Exec(ctx, env.Rueidis, []string{prefix + key}, []string{tokens, seconds, capacity, text(cost)}).AsIntSlice()
		if err != nil {
			return limit.Decision{}, fmt.Errorf("rueidis: %w", err)
		}
		return decision(reply)
	}}, nil
}

// decision reads the reply of our script.
func decision(reply []int64) (limit.Decision, error) {
	if len(reply) != 5 {
		return limit.Decision{}, fmt.Errorf("reply of %d numbers, want 5", len(reply))
	}
	return limit.Decision{
		Allowed: reply[0] == 1, Remaining: reply[1],
		RetryAfter: micros(reply[2]), ResetAfter: micros(reply[3]), DecidedAt: reply[4],
	}, nil
}

func micros(us int64) time.Duration {
	if us < 0 {
		return limit.Never
	}
	return time.Duration(us) * time.Microsecond
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

// openRedisRate has GCRA in a script: whole tokens left, both waits.
func openRedisRate(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	limiter := redis_rate.NewLimiter(env.Redis)
	rate := RedisRate(l)
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		result, err := limiter.AllowN(ctx, prefix+key, rate, int(cost))
		if err != nil {
			return limit.Decision{}, fmt.Errorf("redis_rate: %w", err)
		}
		return limit.Decision{
			Allowed: result.Allowed > 0, Remaining: int64(result.Remaining) * limit.MicroToken,
			RetryAfter: max(result.RetryAfter, 0), ResetAfter: result.ResetAfter,
		}, nil
	}}, nil
}

// RedisRate is the limit in redis_rate's words.
func RedisRate(l limit.Limit) redis_rate.Limit {
	return redis_rate.Limit{Rate: int(l.Rate.Tokens), Period: time.Duration(l.Rate.Seconds) * time.Second, Burst: int(l.Capacity)}
}

// openThrottled has GCRA in Go and compare-and-swap in Redis: whole tokens
// left, both waits.
func openThrottled(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	limiter, err := Throttled(env.Redis, l, prefix)
	if err != nil {
		return nil, err
	}
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		limited, result, err := limiter.RateLimitCtx(ctx, key, int(cost))
		if err != nil {
			return limit.Decision{}, fmt.Errorf("throttled: %w", err)
		}
		return limit.Decision{
			Allowed: !limited, Remaining: int64(result.Remaining) * limit.MicroToken,
			RetryAfter: max(result.RetryAfter, 0), ResetAfter: result.ResetAfter,
		}, nil
	}}, nil
}

// Throttled is throttled's limiter over Redis. Its burst is what it admits
// beyond the first, so one less than the capacity.
func Throttled(rdb redis.UniversalClient, l limit.Limit, prefix string) (*throttled.GCRARateLimiterCtx, error) {
	store, err := goredisstore.NewCtx(rdb, prefix)
	if err != nil {
		return nil, fmt.Errorf("throttled: %w", err)
	}
	limiter, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate:  throttled.PerDuration(int(l.Rate.Tokens), time.Duration(l.Rate.Seconds)*time.Second),
		MaxBurst: int(l.Capacity) - 1,
	})
	if err != nil {
		return nil, fmt.Errorf("throttled: %w", err)
	}
	return limiter, nil
}

// openUlule has a fixed window: whole tokens left, and the second at which the
// window ends.
func openUlule(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
	limiter, err := Ulule(env.Redis, l, prefix)
	if err != nil {
		return nil, err
	}
	return &adapter{limit: l, take: func(ctx context.Context, key string, cost int64) (limit.Decision, error) {
		result, err := limiter.Increment(ctx, key, cost)
		if err != nil {
			return limit.Decision{}, fmt.Errorf("ulule: %w", err)
		}
		d := limit.Decision{Allowed: !result.Reached, Remaining: result.Remaining * limit.MicroToken}
		d.ResetAfter = max(time.Until(time.Unix(result.Reset, 0)), 0)
		if result.Reached {
			d.RetryAfter = d.ResetAfter
		}
		return d, nil
	}}, nil
}

// Ulule is ulule's limiter over Redis.
func Ulule(rdb redis.UniversalClient, l limit.Limit, prefix string) (*ulule.Limiter, error) {
	store, err := ululeredis.NewStoreWithOptions(rdb, ulule.StoreOptions{Prefix: prefix})
	if err != nil {
		return nil, fmt.Errorf("ulule: %w", err)
	}
	return ulule.New(store, ulule.Rate{Period: window(l), Limit: l.Capacity}), nil
}
