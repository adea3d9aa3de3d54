package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/limit/memlimit"
	"weir/api/limit/redislimit"
	"weir/api/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the API could not serve, or requests were cut off at the stop
	exitUsage  = 2 // a setting is wrong
)

// errUsage marks what the caller can fix on the command line.
var errUsage = errors.New("usage")

// readyAtStart bounds how long the start waits for Redis.
const readyAtStart = 2 * time.Second

// execute is the program; it returns the exit code. Help goes to stdout, logs
// and errors to stderr.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := newCommand()
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)
	err := command.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "weir-api: %v (see weir-api --help)\n", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "weir-api:", err)
	return exitFailed
}

// usage marks err as misuse without adding to its text.
type usage struct{ error }

func (u usage) Unwrap() error        { return u.error }
func (u usage) Is(target error) bool { return target == errUsage }

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:           "weir-api",
		Short:         "A rate-limited HTTP API",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage{fmt.Errorf("unknown argument %q (want flags only)", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := readSettings(cmd.Flags(), os.LookupEnv, ".env")
			if err != nil {
				return usage{err}
			}
			return serve(cmd.Context(), settings, cmd.ErrOrStderr())
		},
	}
	addFlags(command.Flags())
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	command.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout()) })
	return command
}

// serve runs the API until ctx is done.
func serve(ctx context.Context, s settings, stderr io.Writer) error {
	log := newLog(s, stderr)
	backend, err := newBackend(s, log) //nolint:contextcheck // what is leased goes back after ctx is done
	if err != nil {
		return usage{err}
	}
	defer backend.close()
	routes, err := guardRoutes(s, backend)
	if err != nil {
		return usage{err}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return listenError(s.listen, err)
	}
	if err := backend.readyAtStart(ctx); err != nil {
		log.Warn("redis is away, starting without it", "reason", err, "policy", s.away)
	}
	log.Info("listening", "addr", listener.Addr().String(), "backend", backend.name, "routes", routesText(s.routes))
	//nolint:wrapcheck // it says which address
	return server.Serve(ctx, listener, server.New(server.Config{
		Routes:   routes,
		Identity: s.identity,
		Breaker:  backend.breaker,
		Ready:    backend.ready,
		MaxAge:   s.metricsMaxAge,
		Log:      log,
	}), server.ServeConfig{Deadline: backend.deadline, Drain: s.drain, Log: log})
}

// listenError says what to do about an address that cannot be had.
func listenError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("LISTEN_ADDR %q: taken (stop what listens there, or choose another port; port 0 takes a free one)", address)
	}
	return fmt.Errorf("LISTEN_ADDR %q: %w (want an address of this host, e.g. 127.0.0.1:8000)", address, err)
}

func newLog(s settings, stderr io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.logLevel}
	if s.logJSON {
		return slog.New(slog.NewJSONHandler(stderr, options))
	}
	return slog.New(slog.NewTextHandler(stderr, options))
}

// A backend makes the limiters of all routes, and is ready or away for all.
type backend struct {
	name     string // "redis" or "memory"
	breaker  *guard.Breaker
	deadline time.Duration
	limiter  func(l limit.Limit, prefix string) (limit.Limiter, error)
	ready    func(context.Context) error // nil: always
	close    func()
}

func newBackend(s settings, log *slog.Logger) (*backend, error) {
	if s.redisURL == memoryURL {
		return &backend{
			name: "memory",
			// Memory is never away: its one error is that a key finds no room.
			breaker: guard.NewBreaker(guard.BreakerConfig{Failures: math.MaxInt32}),
			limiter: func(l limit.Limit, _ string) (limit.Limiter, error) { return memlimit.New(l, memlimit.Config{}) },
			close:   func() {},
		}, nil
	}
	redis.SetLogger(debugLog{log})
	client, err := redislimit.NewClient(s.redisURL)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL %q: %w", redacted(s.redisURL), err)
	}
	probe, err := redislimit.New(client, s.routes[0].limit, redislimit.Config{})
	if err != nil {
		return nil, fmt.Errorf("TB_CAPACITY and TB_RATE: %w", err)
	}
	var limiters []*redislimit.Limiter
	return &backend{
		name:     "redis",
		breaker:  guard.NewBreaker(guard.BreakerConfig{Failures: s.breakerFailures, Cooldown: s.breakerCooldown, Log: log}),
		deadline: s.deadline,
		limiter: func(l limit.Limit, prefix string) (limit.Limiter, error) {
			limiter, err := redislimit.New(client, l, redislimit.Config{
				Prefix: prefix, Batch: s.batch, Remember: s.remember, Lease: s.lease,
			})
			if err == nil {
				limiters = append(limiters, limiter)
			}
			return limiter, err
		},
		ready: probe.Ready,
		close: func() { // the program ends: nothing to do about an error
			for _, limiter := range limiters {
				_ = limiter.Close()
			}
			_ = client.Close()
		},
	}, nil
}

// readyAtStart reports why the backend is not there yet. It also loads the
// script, so that the first request does not have to.
func (b *backend) readyAtStart(ctx context.Context) error {
	if b.ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyAtStart)
	defer cancel()
	return b.ready(ctx)
}

// debugLog is where go-redis tells of connections that fail: each of them is an
// error of a take or of /readyz already.
type debugLog struct{ log *slog.Logger }

var _ interface {
	Printf(ctx context.Context, format string, v ...any)
} = debugLog{}

func (d debugLog) Printf(ctx context.Context, format string, v ...any) {
	if d.log.Enabled(ctx, slog.LevelDebug) {
		d.log.DebugContext(ctx, "go-redis", "text", fmt.Sprintf(format, v...))
	}
}

// guardRoutes gives every route its limiter and its policy.
func guardRoutes(s settings, b *backend) ([]server.Route, error) {
	var routes []server.Route
	for _, r := range s.routes {
		limiter, err := b.limiter(r.limit, r.bucketPrefix(s.bucketPrefix))
		if err != nil {
			return nil, fmt.Errorf("ROUTES: %s: %w", r.path, err)
		}
		config := guard.Config{Deadline: b.deadline, Policy: r.away}
		if r.away == guard.Local {
			if config.Local, err = localLimiter(r, s); err != nil {
				return nil, fmt.Errorf("REDIS_AWAY_SHARE %q: %s: %w", s.awayShare.RatString(), r.path, err)
			}
		}
		routes = append(routes, server.Route{Path: r.path, Cost: r.cost, Guard: guard.New(limiter, b.breaker, config)})
	}
	return routes, nil
}

func localLimiter(r route, s settings) (limit.Limiter, error) {
	part, err := guard.Share(r.limit, s.awayShare, r.cost)
	if err != nil {
		return nil, err //nolint:wrapcheck // guardRoutes says which route
	}
	return memlimit.New(part, memlimit.Config{}) //nolint:wrapcheck // guardRoutes says which route
}
