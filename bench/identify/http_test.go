package identify_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/limit/limittest"
	"weir/api/server"
	"weir/bench/attack"
	"weir/bench/identify"
	"weir/bench/plan"
)

// allKinds asks the machine for more quiet than CI can promise.
var allKinds = flag.Bool("all-kinds", false, "identify every kind over real HTTP")

// attempts bounds how often a machine that was too busy to tell is asked again.
const attempts = 3

// identifyHTTP identifies a real API, as weir identify does.
func identifyHTTP(t *testing.T, url string) (a *identify.Answer) {
	t.Helper()
	for range attempts {
		if a = identifyOnce(t, url); a.Conclusive() {
			break
		}
	}
	return a
}

func identifyOnce(t *testing.T, url string) *identify.Answer {
	t.Helper()
	p := plan.Plan{Name: "identify", Targets: []plan.Target{{Method: "GET", URL: url}}, Timeout: time.Minute}
	caller, err := attack.NewCaller(t.Context(), &p, attack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := identify.Run(t.Context(), caller, identify.Config{
		MaxRequests: 2000, MaxTime: 30 * time.Second, Seed: 1,
		Others: []identify.Other{{Name: "client address", Calls: []attack.Call{{Source: "127.0.1.1"}, {Source: "127.0.1.2"}, {Source: "127.0.1.3"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a.Sentence)
	return a
}

// serve serves a limiter as the limited API does, behind a network with jitter.
func serve(t *testing.T, l limit.Limiter, jitter time.Duration) (url string) {
	t.Helper()
	breaker := guard.NewBreaker(guard.BreakerConfig{})
	api := server.New(server.Config{
		Routes:  []server.Route{{Path: "/items", Cost: 1, Guard: guard.New(l, breaker, guard.Config{Deadline: 30 * time.Second})}},
		Breaker: breaker, MaxAge: time.Minute,
	})
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), jitter/2)
		api.ServeHTTP(w, r)
		pause(r.Context(), jitter/2)
	}))
	t.Cleanup(far.Close)
	return far.URL + "/items"
}

func pause(ctx context.Context, most time.Duration) {
	if most == 0 {
		return
	}
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Each kind of limiter is identified over real HTTP.
func TestHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("attacks for 20 s; not in -short")
	}
	t.Parallel()
	for _, c := range []struct {
		kind   string
		limit  string
		jitter time.Duration
	}{
		{identify.TokenBucket, "20/s,capacity=10", 20 * time.Millisecond},
		{identify.FixedWindow, "20/s,capacity=10", 20 * time.Millisecond},
		{identify.SlidingLog, "20/s,capacity=10", 20 * time.Millisecond},
		{identify.SlidingCounter, "20/s,capacity=10", 20 * time.Millisecond},
		{identify.LeakyQueue, "20/s,capacity=10", 5 * time.Millisecond},
		{identify.Concurrency, "20/s,capacity=4", 5 * time.Millisecond},
		{identify.SeveralLimits, "60/s,capacity=10", 5 * time.Millisecond},
		{identify.None, "20/s,capacity=10", 5 * time.Millisecond},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			if !*allKinds && c.kind != identify.TokenBucket && c.kind != identify.FixedWindow {
				t.Skip("a busy machine leaves this kind inconclusive now and then; -all-kinds asks for it")
			}
			l, err := limit.Parse(c.limit)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(limittest.Kinds, func(k limittest.Kind) bool { return k.Name == c.kind })
			a := identifyHTTP(t, serve(t, limittest.Kinds[i].New(t, l, nil), c.jitter))
			if !a.Conclusive() || a.Kind != c.kind {
				t.Fatalf("%s, want a %s", a.Sentence, c.kind)
			}
			if c.kind != identify.None {
				within(t, a, l.Rate.PerSecond(), float64(l.Capacity))
			}
		})
	}
}

func within(t *testing.T, a *identify.Answer, rate, capacity float64) {
	t.Helper()
	if a.Rate < 0.98*rate || a.Rate > 1.02*rate || a.Capacity < capacity-1 || a.Capacity > capacity+1 {
		t.Errorf("%s, want %g/s and capacity %g", a.Sentence, rate, capacity)
	}
	if a.Key != "client address" {
		t.Errorf("kept for %q, want client address", a.Key)
	}
}

// Nginx's limit_req is a bucket with nodelay, and a queue without.
func TestNginx(t *testing.T) {
	if testing.Short() {
		t.Skip("attacks for 15 s; not in -short")
	}
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not in PATH")
	}
	t.Parallel()
	for _, c := range []struct {
		name, directive, kind string
		capacity              float64
	}{
		{"nodelay", "burst=9 nodelay", identify.TokenBucket, 10}, // one, and a burst of nine
		{"delay", "burst=9", identify.LeakyQueue, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := identifyHTTP(t, startNginx(t, nginx, c.directive))
			if !a.Conclusive() || a.Kind != c.kind {
				t.Fatalf("%s, want a %s", a.Sentence, c.kind)
			}
			within(t, a, 20, c.capacity)
		})
	}
}

// startNginx starts an nginx with limit_req at 20/s, and returns its URL.
func startNginx(t *testing.T, nginx, directive string) (url string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "html"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "html", "items"), []byte("ok"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 100000;
  limit_req_zone $binary_remote_addr zone=z:1m rate=20r/s;
  limit_req_status 429;
  server { listen %[2]s; location / { root %[1]s/html; limit_req zone=z %[3]s; } }
}
`, dir, address, directive)
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // its worker is not root
		for _, open := range []string{filepath.Dir(dir), dir} {
			if err := os.Chmod(open, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = free.Close() // nginx takes the port
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, nginx, "-c", name, "-e", filepath.Join(dir, "error.log"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was told to stop
	})
	p := plan.Plan{Name: "reach", Targets: []plan.Target{{Method: "GET", URL: "http://" + address + "/items"}}}
	for deadline := time.Now().Add(10 * time.Second); attack.Reach(t.Context(), &p) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nginx does not listen")
		}
	}
	return p.Targets[0].URL
}
