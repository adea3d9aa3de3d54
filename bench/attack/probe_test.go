package attack_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/memlimit"
	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

// A limiter that rounds Retry-After up is found to keep its promises, one that
// rounds it down to break them.
func TestProbe(t *testing.T) {
	t.Parallel()
	promise := limit.Limit{Capacity: 2, Rate: limit.Rate{Tokens: 2, Seconds: 1}}
	for _, test := range []struct {
		name    string
		round   func(time.Duration) int
		verdict string
	}{
		{"rounded up", func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }, judge.Holds},
		{"rounded down", func(d time.Duration) int { return int(d / time.Second) }, judge.Broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			limiter, err := memlimit.New(promise, memlimit.Config{})
			if err != nil {
				t.Fatal(err)
			}
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				d, err := limiter.Take(r.Context(), r.Header.Get("X-Api-Key"), 1)
				if err != nil {
					w.WriteHeader(http.StatusInternalServerError)
				} else if !d.Allowed {
					w.Header().Set("Retry-After", strconv.Itoa(test.round(d.RetryAfter)))
					w.WriteHeader(http.StatusTooManyRequests)
				}
			}))
			t.Cleanup(api.Close)
			v, done := probe(t, api.URL, promise)
			if v.RetryAfter.Verdict != test.verdict || done.Error != "" {
				t.Errorf("Retry-After %s: %+v, %q", v.RetryAfter.Verdict, v.RetryAfter, done.Error)
			}
			if test.verdict == judge.Holds && v.RetryAfter.Kept < 3 {
				t.Errorf("%d promises kept, want one for each polite round", v.RetryAfter.Kept)
			}
		})
	}
}

// Where nothing is promised the probe says so, and keeps what it asked.
func TestProbeWithoutPromise(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 3 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(api.Close)
	v, done := probe(t, api.URL, limit.Limit{Capacity: 3, Rate: limit.Rate{Tokens: 1, Seconds: 3600}})
	if done.Error != "nothing to probe: a throttled answer has no Retry-After" || v.Requests.Offered != 4 {
		t.Errorf("got %q after %d requests", done.Error, v.Requests.Offered)
	}
}

func probe(t *testing.T, url string, promise limit.Limit) (*judge.Verdict, run.Attack) {
	t.Helper()
	shape, err := plan.ParseShape("users:1")
	if err != nil {
		t.Fatal(err)
	}
	p := &plan.Plan{
		Name: "probe", Seed: 1, Duration: time.Minute, Shape: shape, Limit: &promise, Fresh: true,
		Keys: plan.Keys{Count: 1}, Targets: []plan.Target{{Method: http.MethodGet, URL: url}},
	}
	var records []record.Record
	done, err := attack.Probe(t.Context(), p, attack.Config{Sink: func(batch []record.Record) error {
		records = append(records, batch...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := judge.New(judge.OptionsOf(&done))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(records); err != nil {
		t.Fatal(err)
	}
	return j.Verdict(), done
}
