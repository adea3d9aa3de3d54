// Package live is the web page of weir: watch limited APIs, start, edit and stop
// an attack, look at the runs on disk and compare two of them.
//
//	server, err := live.New(live.Config{APIs: []string{"http://127.0.0.1:8000"}})
//	…
//	err = server.Serve(ctx, listener)
//
// The page is plain HTML, CSS and ES modules, embedded in the binary: no build
// step, nothing from the network. It asks once for a snapshot of everything that
// is kept, and from then on is told what is new:
//
//	attack ─▶ records on disk                    GET  /api/snapshot   all there is, once
//	   └────▶ meter ─┬▶ history (rings) ─┐       GET  /api/events     what is new, as server-sent events
//	                 ├▶ tables           ├─▶ hub POST /api/attack/…   start, edit, stop, reset
//	                 └▶ recent ─▶ judge ─┘       GET  /api/runs…      the folders under results/
//	/metrics of APIs ─▶ watch (rings) ──▶ hub    GET  /download/…     CSV, Parquet, HTML
//
// Memory does not grow with time: history is kept in three rings of different
// steps, each with percentiles of its own histograms (percentiles are never
// averaged), events in one ring from which a browser that lost its connection goes
// on by Last-Event-ID, or is told to ask for a snapshot again. A browser that is
// slow, and an API that is dead, hold up nobody.
//
// # Verdict
//
// While an attack runs, the judge looks at its latest records only (at most
// judgeRecords, judgeSpan), told that others are missing. What it then proves is
// proved for the whole attack: a window that holds too much does so whatever lies
// around it. What only a longer stretch would show is found when the attack has
// ended, from all its records on disk.
//
// # Security
//
// A page that starts load is a weapon for whoever can reach it; see guard.go for
// who may. Targets must be on loopback or named by the person who started weir,
// and rate, users and duration have a ceiling.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"weir/bench/plan"
	"weir/bench/run"
)

// Config says what the page may do. The zero value works and is the most
// careful one.
type Config struct {
	Results string   // folder of all runs; "" means results
	APIs    []string // base URLs of the weir APIs to watch, e.g. "http://127.0.0.1:8000"

	// Targets are the hosts that may be attacked beside loopback: "host",
	// "host:port", or the path of a unix socket.
	Targets []string
	// Hosts are the names by which the page may be called beside loopback names
	// and plain addresses, e.g. "bench.example".
	Hosts []string
	// Token, if set, must come along with every request: in the cookie that
	// /?token=… sets, or as a Bearer token.
	Token string

	MaxRate     float64       // requests a second; 0 means 10,000
	MaxUsers    int           // 0 means 1,000
	MaxDuration time.Duration // 0 means 1 h

	Commit string    // of weir, for the manifest
	Store  run.Store // the Redis behind the APIs, where it is known
	Notes  []string  // what a reader of a run's manifest must know first
	Start  Form      // what the form shows at first

	// Scenarios are the k6 scenarios that OfferK6 can carry out: name and question.
	Scenarios map[string]string
	// OfferK6 has k6 carry out a plan against the API at base and path, with its
	// records in the folder. It returns soon after ctx is done.
	OfferK6 func(ctx context.Context, folder *run.Folder, scenario string, p *plan.Plan, base, path string) (run.Attack, error)

	Log *slog.Logger // nil is silent
}

// A Server serves the page.
type Server struct {
	config  Config
	hub     *hub
	watched []*watch
	session *session
	shelf   *shelf
	guard   *guard
	handler http.Handler
	stop    context.CancelFunc
	done    sync.WaitGroup
	once    sync.Once
}

// New checks the configuration and starts watching the APIs. Close ends that.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	s := &Server{config: config, hub: newHub(), shelf: newShelf(config.Results)}
	for _, api := range config.APIs {
		base, err := url.Parse(api)
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
			return nil, fmt.Errorf("api %q: want a URL such as http://127.0.0.1:8000", api)
		}
		s.watched = append(s.watched, newWatch(len(s.watched), base))
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.session = newSession(ctx, &s.config, s.hub)
	s.guard = newGuard(config.Token, config.Hosts)
	s.handler = s.guard.wrap(s.routes())
	for _, w := range s.watched {
		s.done.Go(func() { w.follow(ctx, s.hub) })
	}
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.Results == "" {
		c.Results = run.ResultsDir
	}
	if c.MaxRate == 0 {
		c.MaxRate = 10_000
	}
	if c.MaxUsers == 0 {
		c.MaxUsers = 1000
	}
	if c.MaxDuration == 0 {
		c.MaxDuration = time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// ServeHTTP serves one request: the page is an http.Handler too.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve serves until ctx is done. An attack that runs is then stopped, and its
// run is written to its end.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		s.Close()
		return fmt.Errorf("serve the page: %w", err)
	case <-ctx.Done():
	}
	s.Close()
	drain, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) { //nolint:contextcheck // ctx is done, and that is why
		return fmt.Errorf("stop serving the page: %w", err)
	}
	return nil
}

// Close stops the attack that runs, waits until its run is written, and ends
// every stream of events. It may be called more than once.
func (s *Server) Close() {
	s.once.Do(func() {
		s.session.close()
		s.stop()
		s.done.Wait()
		s.hub.close()
	})
}
