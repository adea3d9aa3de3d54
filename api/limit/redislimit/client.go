package redislimit

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Settings of a client where its URL has none: a limiter that is slow to fail
// is worse than one that fails.
const (
	dialTimeout = time.Second
	ioTimeout   = 500 * time.Millisecond
	poolSize    = 64 // connections; more callers than this wait for one, at most ioTimeout

	// go-redis looks once a minute who is master of what, and when it is told MOVED:
	// a master that died tells nothing, and its keys would fail for that minute.
	clusterLook = 500 * time.Millisecond
)

// NewClient returns a client made for limiters: it sends nothing twice, keeps
// ctx's deadlines, and gives up soon. It does not connect yet.
//
// The URL is redis://[user:password@]host:port/db, rediss:// for TLS, or
// unix:///path?db=0. One or more addr=host:port in its query make a Redis
// Cluster client. The query may also hold go-redis settings in snake case,
// e.g. read_timeout=2s or pool_size=10; defaults here are dial_timeout=1s,
// read_timeout, write_timeout and pool_timeout 500ms, pool_size=64.
func NewClient(redisURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(redisURL)
	if err != nil {
		return nil, urlError(err)
	}
	if u.Query().Has("addr") {
		options, err := redis.ParseClusterURL(redisURL)
		if err != nil {
			return nil, urlError(err)
		}
		options.MaxRetries = -1
		options.ContextTimeoutEnabled = true
		setDefault(&options.DialerRetries, 1)
		setDefault(&options.DialTimeout, dialTimeout)
		setDefault(&options.ReadTimeout, ioTimeout)
		setDefault(&options.WriteTimeout, ioTimeout)
		setDefault(&options.PoolTimeout, ioTimeout)
		setDefault(&options.PoolSize, poolSize)
		setDefault(&options.ClusterStateReloadInterval, clusterLook)
		options.MaintNotificationsConfig = noNotifications()
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, urlError(err)
	}
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	setDefault(&options.DialerRetries, 1)
	setDefault(&options.DialTimeout, dialTimeout)
	setDefault(&options.ReadTimeout, ioTimeout)
	setDefault(&options.WriteTimeout, ioTimeout)
	setDefault(&options.PoolTimeout, ioTimeout)
	setDefault(&options.PoolSize, poolSize)
	options.MaintNotificationsConfig = noNotifications()
	return redis.NewClient(options), nil
}

// setDefault sets what the URL left out.
func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}

// noNotifications turns off a handshake that only Redis Enterprise answers.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// urlError says what is wrong with a Redis URL without repeating it, since it
// may hold a password.
func urlError(err error) error {
	if withURL := (*url.Error)(nil); errors.As(err, &withURL) {
		err = withURL.Err
	}
	return fmt.Errorf("redis url: %w (want redis://[user:password@]host:port/db, rediss://… or unix:///path?db=0)", err)
}
