package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/limit/memlimit"
	"weir/api/server"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// promise is 5/s with a burst of 20.
var promise = limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}

// A scripted limiter gives the decision it is told to, or the error.
type scripted struct {
	limit    limit.Limit
	decision limit.Decision
	err      error
}

func (s *scripted) Limit() limit.Limit { return s.limit }

func (s *scripted) Take(context.Context, string, int64) (limit.Decision, error) {
	return s.decision, s.err
}

// start serves config over loopback until the test ends.
func start(tb testing.TB, config server.Config) *httptest.Server {
	tb.Helper()
	if config.Breaker == nil {
		config.Breaker = guard.NewBreaker(guard.BreakerConfig{})
	}
	if config.MaxAge == 0 {
		config.MaxAge = time.Minute
	}
	api := httptest.NewServer(server.New(config))
	tb.Cleanup(api.Close)
	return api
}

// memory is a route limited in this process.
func memory(tb testing.TB, path string, l limit.Limit, cost int64) server.Route {
	tb.Helper()
	limiter, err := memlimit.New(l, memlimit.Config{Clock: func() int64 { return 1_760_000_000_000_000 }}) // time stands still
	if err != nil {
		tb.Fatal(err)
	}
	g := guard.New(limiter, guard.NewBreaker(guard.BreakerConfig{}), guard.Config{})
	return server.Route{Path: path, Cost: cost, Guard: g}
}

// An answer is a response whose body has been read.
type answer struct {
	Status string
	Code   int
	Header http.Header
}

// get returns the answer to GET url with headers given as name, value, ….
func get(tb testing.TB, url string, headers ...string) (answer, string) {
	tb.Helper()
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{response.Status, response.StatusCode, response.Header}, string(body)
}

// raw is an answer as it is on the wire, without what changes between runs.
func raw(tb testing.TB, api *httptest.Server, requestLine string) string {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", api.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n", requestLine)
	answer, err := io.ReadAll(conn)
	if err != nil {
		tb.Fatal(err)
	}
	text := regexp.MustCompile(`Date: .*\r\n`).ReplaceAllString(string(answer), "")
	text = strings.ReplaceAll(text, "Connection: close\r\n", "")
	text = regexp.MustCompile(`"ts":\d{10}\}`).ReplaceAllString(text, `"ts":UNIX-SECONDS}`)
	return strings.ReplaceAll(text, "\r\n", "\n")
}

// The wire contract, byte for byte: clients of the Python predecessor keep working.
func TestWireContract(t *testing.T) {
	t.Parallel()
	tenAMinute := limit.Limit{Capacity: 10, Rate: limit.Rate{Tokens: 1, Seconds: 6}}
	const at = 1_760_000_000_123_456
	var all strings.Builder
	for _, test := range []struct {
		name     string
		limit    limit.Limit
		decision limit.Decision
		err      error
		policy   guard.Policy
		request  string
	}{
		{"admitted", promise, limit.Decision{Allowed: true, Remaining: 19_000_000, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"admitted, fraction rounded down", promise, limit.Decision{Allowed: true, Remaining: 4_259_999, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"admitted, last token: t is the wait for the next", tenAMinute, limit.Decision{Allowed: true, Remaining: 80_000, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"throttled, 1 µs to wait", promise, limit.Decision{Remaining: 999_999, RetryAfter: time.Microsecond, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"throttled, exactly 6 s to wait", tenAMinute, limit.Decision{RetryAfter: 6 * time.Second, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"throttled, 1 µs more", tenAMinute, limit.Decision{RetryAfter: 6*time.Second + time.Microsecond, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"throttled for ever", limit.Limit{Capacity: 3, Rate: limit.Rate{Seconds: 1}}, limit.Decision{RetryAfter: limit.Never, DecidedAt: at}, nil, guard.Closed, "GET /items"},
		{"away, closed", promise, limit.Decision{}, errors.New("gone"), guard.Closed, "GET /items"},
		{"away, open", promise, limit.Decision{}, errors.New("gone"), guard.Open, "GET /items"},
		{"free", promise, limit.Decision{}, nil, guard.Closed, "GET /free"},
		{"not found", promise, limit.Decision{}, nil, guard.Closed, "GET /nowhere"},
		{"method not allowed", promise, limit.Decision{}, nil, guard.Closed, "POST /items"},
		{"health", promise, limit.Decision{}, nil, guard.Closed, "GET /healthz"},
		{"ready", promise, limit.Decision{}, nil, guard.Closed, "GET /readyz"},
	} {
		limiter := &scripted{limit: test.limit, decision: test.decision, err: test.err}
		breaker := guard.NewBreaker(guard.BreakerConfig{})
		api := start(t, server.Config{Breaker: breaker, Routes: []server.Route{{
			Path: "/items", Cost: 1, Guard: guard.New(limiter, breaker, guard.Config{Policy: test.policy}),
		}}})
		fmt.Fprintf(&all, "# %s: %s\n%s\n\n", test.name, test.request, raw(t, api, test.request))
	}
	golden := filepath.Join("testdata", "wire.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), all.String()); diff != "" {
		t.Errorf("the wire contract changed (-want +got; go test -update writes it anew):\n%s", diff)
	}
}

func TestLimitOverHTTP(t *testing.T) {
	t.Parallel()
	api := start(t, server.Config{Routes: []server.Route{memory(t, "/items", promise, 1)}})
	for i := range 20 {
		response, body := get(t, api.URL+"/items")
		want := fmt.Sprintf("%d.00", 19-i)
		if got := response.Header.Get("X-RateLimit-Remaining"); response.Code != 200 || got != want {
			t.Fatalf("request %d: %s with %q left, want 200 with %q: %s", i, response.Status, got, want, body)
		}
	}
	response, body := get(t, api.URL+"/items")
	if response.Code != 429 || body != `{"detail":"rate limit exceeded","retry_after":1}` ||
		response.Header.Get("Retry-After") != "1" || response.Header.Get("X-RateLimit-Capacity") != "20" {
		t.Errorf("request 21: %s %v %s, want 429 after the burst of 20", response.Status, response.Header, body)
	}
	if response, _ := get(t, api.URL+"/free"); response.Code != 200 || response.Header.Get("X-RateLimit-Capacity") != "" {
		t.Errorf("/free: %s %v, want 200 without a limit", response.Status, response.Header)
	}
}

func TestRoutesHaveLimitsAndCostsOfTheirOwn(t *testing.T) {
	t.Parallel()
	api := start(t, server.Config{Routes: []server.Route{
		memory(t, "/items", promise, 1),
		memory(t, "/export/all", limit.Limit{Capacity: 5, Rate: limit.Rate{Tokens: 1, Seconds: 1}}, 2),
	}})
	for _, test := range []struct {
		path, policy, left string
		status             int
	}{
		{"/export/all", `"export/all";q=5;w=5`, "3.00", 200},
		{"/export/all", `"export/all";q=5;w=5`, "1.00", 200},
		{"/export/all", `"export/all";q=5;w=5`, "1.00", 429},
		{"/items", `"items";q=20;w=4`, "19.00", 200},
	} {
		response, _ := get(t, api.URL+test.path)
		if got := response.Header.Get("X-RateLimit-Remaining"); response.Code != test.status || got != test.left {
			t.Errorf("%s: %s with %s left, want %d with %s", test.path, response.Status, got, test.status, test.left)
		}
		if got := response.Header.Get("RateLimit-Policy"); got != test.policy {
			t.Errorf("%s: RateLimit-Policy = %s, want %s", test.path, got, test.policy)
		}
	}
}

func TestKeysHaveBucketsOfTheirOwn(t *testing.T) {
	t.Parallel()
	one := limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: 1, Seconds: 1}}
	api := start(t, server.Config{Identity: server.Identity{Header: "X-Api-Key"}, Routes: []server.Route{memory(t, "/items", one, 1)}})
	for _, test := range []struct {
		key    string
		status int
	}{{"alice", 200}, {"alice", 429}, {"bob", 200}, {"", 200}, {"", 429}, {"bob", 429}} {
		if response, _ := get(t, api.URL+"/items", "X-API-Key", test.key); response.Code != test.status {
			t.Errorf("key %q: %s, want %d", test.key, response.Status, test.status)
		}
	}
}

func TestPoliciesWithAFailingLimiter(t *testing.T) {
	t.Parallel()
	local, err := memlimit.New(limit.Limit{Capacity: 1, Rate: limit.Rate{Seconds: 1}}, memlimit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		config   guard.Config
		statuses [2]int
		counts   string
	}{
		{"closed", guard.Config{}, [2]int{503, 503}, `outcome="error_closed",route="/items"} 2`},
		{"open", guard.Config{Policy: guard.Open}, [2]int{200, 200}, `outcome="error_open",route="/items"} 2`},
		{"local", guard.Config{Policy: guard.Local, Local: local}, [2]int{200, 429}, `outcome="error_local_denied",route="/items"} 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			limiter := &scripted{limit: promise, err: errors.New("connection refused")}
			breaker := guard.NewBreaker(guard.BreakerConfig{Failures: 1, Cooldown: time.Hour})
			api := start(t, server.Config{Breaker: breaker, Routes: []server.Route{
				{Path: "/items", Cost: 1, Guard: guard.New(limiter, breaker, test.config)},
			}})
			for i, want := range test.statuses {
				response, body := get(t, api.URL+"/items")
				if response.Code != want {
					t.Errorf("request %d: %s %s, want %d", i, response.Status, body, want)
				}
				if want == 200 {
					continue
				}
				if after, err := strconv.Atoi(response.Header.Get("Retry-After")); want == 503 && (err != nil || after < 1 || after > 3600) {
					t.Errorf("Retry-After = %q, want whole seconds", response.Header.Get("Retry-After"))
				}
				if response.Header.Get("Cache-Control") != "no-store" || !json.Valid([]byte(body)) || !strings.Contains(body, `"detail"`) {
					t.Errorf("%s: %v %s, want no-store and a detail", response.Status, response.Header, body)
				}
			}
			_, text := get(t, api.URL+"/metrics")
			if !strings.Contains(text, test.counts) || !strings.Contains(text, "weir_backend_up 0") {
				t.Errorf("/metrics lacks %q or weir_backend_up 0", test.counts)
			}
		})
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	api := start(t, server.Config{
		Routes: []server.Route{memory(t, "/items", promise, 1)},
		Ready:  func(context.Context) error { return errors.New(`redis: NOAUTH "password"`) },
	})
	response, body := get(t, api.URL+"/readyz")
	if response.Code != 503 || body != `{"detail":"redis: NOAUTH \"password\""}` {
		t.Errorf("/readyz = %s %s, want 503 with the reason", response.Status, body)
	}
	if response, _ := get(t, api.URL+"/healthz"); response.Code != 200 {
		t.Errorf("/healthz = %s, want 200 whatever the backend", response.Status)
	}
}

func TestMetricsText(t *testing.T) {
	t.Parallel()
	api := start(t, server.Config{Identity: server.Identity{Header: "X-Api-Key"}, Routes: []server.Route{
		memory(t, "/items", limit.Limit{Capacity: 2, Rate: limit.Rate{Tokens: 1, Seconds: 2}}, 1),
		memory(t, "/export", promise, 1),
	}})
	for range 3 {
		get(t, api.URL+"/items", "X-API-Key", "secret")
	}
	for i := range 100 {
		get(t, api.URL+"/export", "X-API-Key", strconv.Itoa(i))
	}
	response, text := get(t, api.URL+"/metrics")
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("Content-Type = %q, want Prometheus' text", got)
	}
	for _, want := range []string{
		`weir_decisions_total{outcome="allowed",route="/items"} 2`,
		`weir_decisions_total{outcome="denied",route="/items"} 1`,
		`weir_decisions_total{outcome="allowed",route="/export"} 100`,
		`weir_decision_duration_seconds_bucket{route="/items",le="2e-05"}`,
		`weir_decision_duration_seconds_bucket{route="/items",le="1"} 3`,
		`weir_decision_duration_seconds_count{route="/export"} 100`,
		`weir_admitted_duration_seconds_count{route="/items"} 2`,
		`weir_limit_capacity_tokens{route="/items"} 2`,
		`weir_limit_rate_tokens_per_second{route="/items"} 0.5`,
		`weir_bucket_tokens{key="2bb80d537b1da3e38bd30361aa855686",route="/items"} 0`,
		`weir_backend_up 1`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if n := strings.Count(text, "\nweir_bucket_tokens{"); n != 20 {
		t.Errorf("/metrics shows %d of 101 keys, want 20", n)
	}
	if strings.Contains(text, "secret") {
		t.Error("/metrics shows a client's key")
	}
}

func TestMetricsJSON(t *testing.T) {
	t.Parallel()
	api := start(t, server.Config{Routes: []server.Route{memory(t, "/items", limit.Limit{Capacity: 2, Rate: limit.Rate{Tokens: 1, Seconds: 2}}, 1)}})
	response, body := get(t, api.URL+"/metrics", "Accept", "application/json")
	if body != `{"points":[],"capacity":2,"rate":0.5}` || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("before any request: %s %s", response.Header.Get("Content-Type"), body)
	}
	for range 500 {
		get(t, api.URL+"/items")
	}
	_, body = get(t, api.URL+"/metrics", "Accept", "application/json")
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	var got struct {
		Points []struct {
			TS        *int64   `json:"ts"`
			Allowed   *int64   `json:"allowed"`
			Blocked   *int64   `json:"blocked"`
			Tokens    *float64 `json:"tokens"`
			LatencyMS *float64 `json:"latency_ms"`
		} `json:"points"`
		Capacity int64   `json:"capacity"`
		Rate     float64 `json:"rate"`
	}
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	allowed, blocked, last := int64(0), int64(0), int64(0)
	for _, p := range got.Points {
		if p.TS == nil || p.Allowed == nil || p.Blocked == nil || p.Tokens == nil || p.LatencyMS == nil {
			t.Fatalf("a point lacks a field: %s", body)
		}
		if *p.TS <= last {
			t.Errorf("points are not one a second, in order: %s", body)
		}
		last = *p.TS
		allowed += *p.Allowed
		blocked += *p.Blocked
	}
	if allowed != 2 || blocked != 498 {
		t.Errorf("points hold %d allowed and %d blocked, want 2 and 498: %s", allowed, blocked, body)
	}
	for accept, json := range map[string]bool{
		"*/*": false, "text/plain": false, "text/html,application/xml;q=0.9,*/*;q=0.8": false,
		"application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1": false,
		"application/json, text/plain, */*":                                     true,
		"Application/JSON;q=0.9":                                                true,
	} {
		_, body := get(t, api.URL+"/metrics", "Accept", accept)
		if got := strings.HasPrefix(body, "{"); got != json {
			t.Errorf("Accept: %s: JSON = %v, want %v", accept, got, json)
		}
	}
}

// A stop lets the request in flight finish, and takes no other.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	ctx, stop := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan string, 1)
	go func() { served <- server.Serve(ctx, listener, handler, server.ServeConfig{Drain: time.Minute}) }()
	go func() {
		defer close(answered)
		_, body := get(t, "http://"+listener.Addr().String())
		answered <- body
	}()
	<-entered
	stop()
	for { // until the door is shut
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if body := <-answered; body != "done" {
		t.Errorf("request in flight got %q, want done", body)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want a clean stop", err)
	}
}

func TestServeGivesUpDraining(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release })
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, handler, server.ServeConfig{Drain: time.Millisecond}) }()
	go func() {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), http.NoBody)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-entered
	stop()
	if err := <-served; err == nil || !strings.Contains(err.Error(), "still in flight") {
		t.Errorf("Serve = %v, want it to say that requests were cut off", err)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, listener, http.NotFoundHandler(), server.ServeConfig{Drain: time.Minute})
	}()
	response, _ := get(t, "http://"+listener.Addr().String(), "X-Huge", strings.Repeat("x", 64<<10))
	if response.Code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers: %s, want 431", response.Status)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A discarding writer keeps the benchmark to what the middleware does.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkMiddleware(b *testing.B) {
	huge := limit.Limit{Capacity: 1_000_000_000, Rate: limit.Rate{Tokens: 1000, Seconds: 1}}
	for _, bench := range []struct {
		name, path string
		limit      limit.Limit
	}{
		{"free", "/free", huge},
		{"admitted", "/items", huge},
		{"throttled", "/items", limit.Limit{Capacity: 1, Rate: limit.Rate{Seconds: 1}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			handler := server.New(server.Config{
				Routes:  []server.Route{memory(b, "/items", bench.limit, 1)},
				Breaker: guard.NewBreaker(guard.BreakerConfig{}), MaxAge: time.Minute,
			})
			r := httptest.NewRequest(http.MethodGet, bench.path, http.NoBody)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				w := discard{http.Header{}}
				for pb.Next() {
					clear(w.header)
					handler.ServeHTTP(w, r)
				}
			})
		})
	}
}
