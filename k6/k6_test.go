package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/memlimit"
	"weir/bench/record"
)

// The limit of every API below. Its window (capacity / rate) is 1 s.
const promised = "10/s,capacity=10"

// k6's exit codes, as README.md gives them.
const (
	codeThreshold   = 99
	codeConfig      = 104
	codeInterrupted = 105
	codeException   = 107
	codeAborted     = 108
)

var (
	binary    = sync.OnceValues(build)
	buildPath = filepath.Join(os.TempDir(), fmt.Sprintf("weir-k6-%d", os.Getpid()))
)

func build() (string, error) {
	if out, err := exec.Command("go", "build", "-o", buildPath, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return buildPath, nil
}

func TestMain(m *testing.M) {
	m.Run()
	os.Remove(buildPath)
}

// runK6 runs the binary until it ends or, interrupted, when ctx does, and returns its exit code and everything it said.
func runK6(ctx context.Context, t *testing.T, args ...string) (int, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds k6 and runs it for seconds: left out with -short")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// scenario runs one scenario against an API. How fast the machine answers is not
// what is tested: latency may take as long as it likes.
func scenario(t *testing.T, name, baseURL, duration string, more ...string) (int, string) {
	t.Helper()
	args := []string{"run", "--quiet", "-e", "BASE_URL=" + baseURL, "-e", "LIMIT=" + promised, "-e", "LATENCY_MS=60000"}
	if duration != "" {
		args = append(args, "-e", "DURATION="+duration)
	}
	args = append(args, more...)
	return runK6(t.Context(), t, append(args, "scenarios/"+name+".js")...)
}

// An api answers GET /items as its decide says, and counts what it said.
type api struct {
	*httptest.Server
	mu      sync.Mutex
	decided map[string]int // by what a record should say of it
}

// An answer is what an API decided about one request.
type answer struct {
	status     int
	retryAfter int   // seconds; 0 sends none
	decidedAt  int64 // µs; 0 sends none
}

func newAPI(t *testing.T, decide func(key string) answer) *api {
	t.Helper()
	a := &api{decided: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /items", func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-API-Key")
		d := decide(key)
		if d.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(d.retryAfter))
		}
		if d.decidedAt > 0 {
			w.Header().Set("X-RateLimit-Decided-At", strconv.FormatInt(d.decidedAt, 10))
		}
		a.mu.Lock()
		a.decided[tally(key, d.status, d.decidedAt)]++
		a.mu.Unlock()
		w.WriteHeader(d.status)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func tally(key string, status int, decidedAt int64) string {
	return fmt.Sprintf("key %s status %d decided at %d", key, status, decidedAt)
}

// bucket decides as a correct token bucket for each key.
func bucket(t *testing.T) func(key string) answer {
	t.Helper()
	l, err := limit.Parse(promised)
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := memlimit.New(l, memlimit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return func(key string) answer {
		d, err := limiter.Take(t.Context(), key, 1)
		if err != nil {
			return answer{status: http.StatusInternalServerError}
		}
		if d.Allowed {
			return answer{status: http.StatusOK, decidedAt: d.DecidedAt}
		}
		seconds := int((d.RetryAfter + time.Second - 1) / time.Second)
		return answer{status: http.StatusTooManyRequests, retryAfter: seconds, decidedAt: d.DecidedAt}
	}
}

// durations are as short as each question allows. One key is missing in no row:
// TestScenarios runs every file of scenarios/.
var durations = map[string]string{
	"smoke": "2s", "steady": "3s", "ramp": "3s", "spike": "3s", "soak": "4s",
	"burst-edge": "5s", "many-keys": "3s", "polite": "4s", "stampede": "3s",
}

// A correct API passes every scenario, and the records say exactly what the API
// says it decided: each request once, with its key, status and decision time.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.js")
	if err != nil || len(files) != len(durations) {
		t.Fatalf("%d scenarios (%v), but %d durations here", len(files), err, len(durations))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".js")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, dir := newAPI(t, bucket(t)), filepath.Join(t.TempDir(), name)
			code, said := scenario(t, name, a.URL, durations[name], "--out", "weir="+dir)
			if code != 0 {
				t.Errorf("exit code %d, want 0\n%s", code, said)
			}
			compare(t, name, dir, a.decided)
		})
	}
}

func compare(t *testing.T, plan, dir string, want map[string]int) {
	t.Helper()
	reader, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	got := map[string]int{}
	for batch := range reader.Batches() {
		for _, r := range batch {
			got[tally(r.Key, r.Status, r.Quota.DecidedAt)]++
			if r.Plan != plan || r.Outcome != record.OutcomeOf(r.Status) {
				t.Errorf("record %d: plan %q, outcome %v of status %d", r.Seq, r.Plan, r.Outcome, r.Status)
			}
			// The limiter and k6 share a clock here, which both round to µs at best.
			if at := r.Quota.DecidedAt * 1000; at < r.Sent-1e6 || at > r.Done+1e6 {
				t.Errorf("record %d: decided at %d, outside [sent %d, done %d]", r.Seq, at, r.Sent, r.Done)
			}
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	for line, n := range want {
		if got[line] != n {
			t.Errorf("%s: %d records, the API counted %d", line, got[line], n)
		}
		delete(got, line)
	}
	for line, n := range got {
		t.Errorf("%s: %d records of requests that the API never saw", line, n)
	}
}

// Each fault of an API makes the threshold fail that is there to find it.
func TestFaultsAreFound(t *testing.T) {
	for _, row := range []struct {
		fault, scenario, duration string
		decide                    func(t *testing.T) func(key string) answer
		finds                     string // a line of the summary
	}{
		{"every answer is an error", "smoke", "1s", always(answer{status: http.StatusInternalServerError}), "FAIL  weir_failed"},
		{"no limit at all", "ramp", "3s", always(answer{status: http.StatusOK}), "FAIL  weir_throttled: count>0"},
		{"no limit at all", "stampede", "8s", always(answer{status: http.StatusOK}), "FAIL  weir_admitted: count<="},
		{"throttles below the limit", "steady", "3s", fixedWindow(5, time.Second), "FAIL  weir_throttled: count==0"},
		{"half of the refill is lost", "soak", "6s", fixedWindow(5, time.Second), "FAIL  weir_admitted: count>="},
		{"a window is full again at its edge", "burst-edge", "5s", fixedWindow(10, time.Second), "FAIL  weir_excess_tokens: count==0"},
		{"one bucket for all keys", "many-keys", "2s", oneKey, "FAIL  weir_throttled{scenario:others}: count==0"},
		{"Retry-After is too early", "polite", "4s", fixedWindow(10, 4*time.Second), "FAIL  weir_return_throttled: count==0"},
		{
			"Retry-After is missing", "polite", "1s", always(answer{status: http.StatusTooManyRequests}),
			"FAIL  weir_return_unknown: count==0",
		},
	} {
		t.Run(row.fault+"/"+row.scenario, func(t *testing.T) {
			t.Parallel()
			code, said := scenario(t, row.scenario, newAPI(t, row.decide(t)).URL, row.duration)
			if code != codeThreshold || !strings.Contains(said, row.finds) {
				t.Errorf("exit code %d, want %d with %q in\n%s", code, codeThreshold, row.finds, said)
			}
		})
	}
}

func always(a answer) func(*testing.T) func(string) answer {
	return func(*testing.T) func(string) answer { return func(string) answer { return a } }
}

func oneKey(t *testing.T) func(string) answer {
	t.Helper()
	decide := bucket(t)
	return func(string) answer { return decide("all") }
}

// fixedWindow admits so many in each window of the clock, and always says to come
// back in one second.
func fixedWindow(most int, window time.Duration) func(*testing.T) func(string) answer {
	return func(*testing.T) func(string) answer {
		var mu sync.Mutex
		var current, used int64
		return func(string) answer {
			mu.Lock()
			defer mu.Unlock()
			if now := time.Now().UnixNano() / int64(window); now != current {
				current, used = now, 0
			}
			if used == int64(most) {
				return answer{status: http.StatusTooManyRequests, retryAfter: 1}
			}
			used++
			return answer{status: http.StatusOK}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"absent target", []string{"run", "-e", "BASE_URL=http://127.0.0.1:1", "scenarios/smoke.js"}, codeAborted, "nothing answers at http://127.0.0.1:1/healthz"},
		{"negative rate", []string{"run", "-e", "RATE=-1", "scenarios/smoke.js"}, codeException, "RATE=-1: want a number above 0"},
		{"unknown unit", []string{"run", "-e", "LIMIT=5/day", "scenarios/smoke.js"}, codeException, "LIMIT=5/day: want RATE/UNIT"},
		{"bad duration", []string{"run", "-e", "DURATION=soon", "scenarios/smoke.js"}, codeException, "DURATION=soon: want a duration"},
		{"no folder", []string{"run", "--out", "weir", "scenarios/smoke.js"}, codeConfig, "want --out weir=DIR"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			code, said := runK6(t.Context(), t, row.args...)
			if code != row.code || !strings.Contains(said, row.says) {
				t.Errorf("exit code %d, want %d with %q in\n%s", code, row.code, row.says, said)
			}
		})
	}
}

// Ctrl-C ends the load; what was recorded until then is there.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	const answered = 5 // before the one during which the interrupt comes
	var requests atomic.Int64
	started := make(chan struct{})
	decide := bucket(t)
	a := newAPI(t, func(key string) answer {
		if requests.Add(1) == answered+1 {
			close(started)
		}
		return decide(key)
	})
	dir := filepath.Join(t.TempDir(), "soak")
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		<-started
		interrupt()
	}()
	code, said := runK6(ctx, t, "run", "--quiet", "--out", "weir="+dir, "-e", "BASE_URL="+a.URL, "scenarios/soak.js")
	if code != codeInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, codeInterrupted, said)
	}
	reader, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	records := 0
	for batch := range reader.Batches() {
		records += len(batch)
	}
	if records < answered {
		t.Errorf("%d records, want the %d requests answered before the interrupt", records, answered)
	}
}

func TestInspect(t *testing.T) {
	files, _ := filepath.Glob("scenarios/*.js")
	for _, file := range files {
		if code, said := runK6(t.Context(), t, "inspect", file); code != 0 {
			t.Errorf("k6 inspect %s: exit code %d\n%s", file, code, said)
		}
	}
}
