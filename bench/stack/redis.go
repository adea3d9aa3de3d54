package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"weir/bench/run"
)

// servers are the programs that are a Redis, in order of preference.
var servers = []string{"redis-server", "valkey-server"}

// attempts is how often a server is started anew when somebody took the port
// between its being found free and its being listened on.
const attempts = 3

const embedded = "embedded miniredis"

// A redisStore is a Redis that answers.
type redisStore struct {
	url   string
	store run.Store
	notes []string
	stop  func()
}

func init() {
	logging.Disable() // what go-redis would print comes back as errors
}

func startRedis(ctx context.Context, config Config) (*redisStore, error) {
	if address := cmp.Or(config.RedisURL, os.Getenv("REDIS_URL")); address != "" {
		version, err := waitRedis(ctx, address)
		if err != nil {
			return nil, err
		}
		return &redisStore{url: address, store: run.Store{Kind: "REDIS_URL", Version: version}, stop: func() {}}, nil
	}
	for _, server := range servers {
		if path, err := exec.LookPath(server); err == nil {
			return startPrivate(ctx, path, server, config.LogDir)
		}
	}
	return startEmbedded()
}

// startPrivate starts the server at path with nothing on disk.
func startPrivate(ctx context.Context, path, kind, logDir string) (*redisStore, error) {
	var err error
	for range attempts {
		var r *redisStore
		if r, err = tryPrivate(ctx, path, kind, logDir); err == nil {
			return r, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, fmt.Errorf("start a private Redis: %w", err)
}

func tryPrivate(ctx context.Context, path, kind, logDir string) (*redisStore, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	//nolint:noctx // Close stops it; a cancelled run still needs it until its requests are done
	process, err := StartLogged(exec.Command(path, "--port", port, "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--daemonize", "no"), logDir, kind)
	if err != nil {
		return nil, err
	}
	r := &redisStore{url: "redis://" + address + "/0", store: run.Store{Kind: kind}, stop: process.Stop}
	err = process.waitReady(ctx, func(ctx context.Context) (err error) {
		r.store.Version, err = redisVersion(ctx, r.url)
		return err
	})
	return r, err
}

// startEmbedded serves miniredis from this process. Its keys never expire,
// since its clock for expiry only moves when told to; an expired bucket is a
// full one, so no decision differs.
func startEmbedded() (*redisStore, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", embedded, err)
	}
	return &redisStore{
		url:   "redis://" + mini.Addr() + "/0",
		store: run.Store{Kind: embedded, Version: moduleVersion("github.com/alicebob/miniredis/v2")},
		notes: []string{"Redis: " + embedded + ", because neither REDIS_URL is set nor redis-server or valkey-server installed; " +
			"it shares the processor with the load, and figures of speed mean nothing for a real Redis"},
		stop: mini.Close,
	}, nil
}

// moduleVersion is the version of a module in this program, "" if unknown.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == path {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return ""
}

// waitRedis returns the version of the Redis at address, waiting while it loads
// its data. Its error is one line that says what to do.
func waitRedis(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		version, err := redisVersion(ctx, address)
		if err == nil {
			return version, nil
		}
		loading := strings.HasPrefix(err.Error(), "LOADING")
		if loading {
			select {
			case <-time.After(10 * pollEvery):
				continue
			case <-ctx.Done():
			}
		}
		return "", explain(address, err)
	}
}

// redisVersion asks the Redis at address for its version.
func redisVersion(ctx context.Context, address string) (string, error) {
	options, err := redis.ParseURL(address)
	if err != nil {
		return "", err
	}
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.DialTimeout = time.Second
	options.ReadTimeout = time.Second
	options.PoolSize = 1
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	version := "unknown"
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		// Valkey answers both: redis_version is then the Redis it stands in for.
		if name == "valkey_version" || (name == "redis_version" && version == "unknown") {
			version = value
		}
	}
	return version, nil
}

// explain says what err means for somebody who gave address.
func explain(address string, err error) error {
	parsed, parseErr := url.Parse(address)
	if parseErr != nil || parsed.Host == "" && parsed.Scheme != "unix" {
		// Not printed: what cannot be parsed may hold a password anywhere.
		return errors.New("REDIS_URL is not the URL of a Redis (want redis://[user:password@]host:port[/db], rediss://… or unix://path)")
	}
	name := parsed.Redacted()
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "LOADING"):
		return fmt.Errorf("redis %s is still loading its data: wait until `redis-cli ping` answers PONG, or unset REDIS_URL", name)
	case strings.HasPrefix(text, "NOAUTH"):
		return fmt.Errorf("redis %s needs a password: give it in REDIS_URL=redis://:password@%s, or unset REDIS_URL", name, parsed.Host)
	case strings.HasPrefix(text, "WRONGPASS"), strings.Contains(text, "invalid username-password"), strings.Contains(text, "invalid password"):
		return fmt.Errorf("redis %s refuses the password in REDIS_URL: correct it, or unset REDIS_URL", name)
	case strings.HasPrefix(text, "redis: invalid"):
		return fmt.Errorf("REDIS_URL %s: %s (want redis://[user:password@]host:port[/db])", name, text)
	default:
		return fmt.Errorf("no Redis answers at %s (%w): start it, correct REDIS_URL, or unset REDIS_URL to let weir start its own", name, err)
	}
}
