// Package server is the limited API over HTTP: its routes, the middleware that
// limits some of them, who a client is, and what is measured.
//
//	GET /items     limited; {"ok":true,"ts":<unix seconds>}
//	GET /free      the same handler without a limiter: what the limiter costs is the difference
//	GET /metrics   Prometheus text, or JSON with Accept: application/json
//	GET /healthz   200 while the process serves
//	GET /readyz    200 while the limiter's backend answers, 503 with the reason otherwise
//
// More limited routes, with limits and costs of their own, come by [Config].
//
// # The answer to a limited request
//
//	                      admitted  throttled (429)  no decision (503)
//	X-RateLimit-Capacity     x             x
//	X-RateLimit-Rate         x             x
//	X-RateLimit-Remaining    x             x
//	X-RateLimit-Decided-At   x             x
//	RateLimit                x             x
//	RateLimit-Policy         x             x
//	Retry-After                            x (¹)             x
//	Cache-Control                          no-store          no-store
//	body                     items     {"detail":"rate limit exceeded","retry_after":1}
//
// (¹) absent, and retry_after −1, when no wait can help. A request admitted
// because the policy is open while the backend is away has no Remaining,
// Decided-At and RateLimit: nobody knows them.
//
// # Cost
//
// A limited request pays for its key (1 allocation), the take, five atomic
// counters and two allocations of headers; see BenchmarkMiddleware.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"weir/api/limit/guard"
)

// Reserved are the paths that a limited route cannot have.
var Reserved = []string{"/free", "/metrics", "/healthz", "/readyz"}

// readyWithin bounds how long /readyz waits for the backend.
const readyWithin = time.Second

// Config says what to serve.
type Config struct {
	Routes   []Route // limited; the first one's limit is in the JSON of /metrics
	Identity Identity
	Breaker  *guard.Breaker              // of the backend behind all routes
	Ready    func(context.Context) error // reports why the backend is not; nil is always ready
	MaxAge   time.Duration               // how long /metrics remembers, in whole seconds, at least 1
	Log      *slog.Logger                // nil is silent
}

// New returns the API.
func New(config Config) http.Handler {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(config.MaxAge, config.Breaker)
	router := mux.NewRouter()
	get := func(path string, handler http.Handler) {
		router.Handle(path, handler).Methods(http.MethodGet, http.MethodHead)
	}
	for _, route := range config.Routes {
		get(route.Path, &limited{
			route:    route,
			promise:  newPromise(route.Path, route.Guard.Limit()),
			identity: &config.Identity,
			meter:    m.route(route.Path, route.Guard.Limit()),
			log:      config.Log,
			next:     http.HandlerFunc(items),
		})
	}
	get("/free", http.HandlerFunc(items))
	get("/metrics", m.handler())
	get("/healthz", http.HandlerFunc(healthz))
	get("/readyz", readyz(config.Ready))
	router.NotFoundHandler = failure(http.StatusNotFound)
	router.MethodNotAllowedHandler = failure(http.StatusMethodNotAllowed)
	return router
}

// detail is the body of an error, as FastAPI writes it.
type detail struct {
	Detail string `json:"detail"`
}

// failure answers {"detail":"Not Found"} and the like.
func failure(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD")
		}
		writeJSON(w, status, detail{http.StatusText(status)})
	})
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

func readyz(ready func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = noStore
		if ready != nil {
			ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
			defer cancel()
			if err := ready(ctx); err != nil {
				writeJSON(w, http.StatusServiceUnavailable, detail{err.Error()})
				return
			}
		}
		writeJSON(w, http.StatusOK, map[string]bool{"ready": true})
	})
}

// ServeConfig bounds what a client, and a stop, may take.
type ServeConfig struct {
	Deadline time.Duration // the longest a handler waits; a response may take 10 s more
	Drain    time.Duration // how long requests in flight may take to finish after a stop
	Log      *slog.Logger  // nil is silent
}

// Serve answers on listener until ctx is done, then takes no more connections
// and waits for the requests in flight.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, config ServeConfig) error {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      config.Deadline + 10*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	config.Log.Info("stopping", "drain", config.Drain)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), config.Drain)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return errors.Join(fmt.Errorf("requests still in flight %s after the stop: %w", config.Drain, err), server.Close())
	}
	config.Log.Info("stopped")
	return nil
}
