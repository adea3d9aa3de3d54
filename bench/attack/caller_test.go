package attack_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/record"
)

// Calls are sent at their instants, to their targets, from their addresses, and the
// records come back in the order of the calls.
func TestCaller(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		seen = append(seen, r.Method+" "+host)
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(api.Close)
	p := plan.Plan{Name: "calls", Targets: []plan.Target{{Method: "GET", URL: api.URL}, {Method: "HEAD", URL: api.URL}}}
	caller, err := attack.NewCaller(t.Context(), &p, attack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	caller.Warm(2)
	begin := caller.Now()
	at := func(d time.Duration) int64 { return begin + int64(d) }
	records := caller.Do(t.Context(), []attack.Call{
		{At: at(10 * time.Millisecond)},
		{At: at(30 * time.Millisecond), Target: attack.NoTarget},
		{At: at(20 * time.Millisecond), Target: 1, Source: "127.0.1.9"},
	})
	if len(records) != 2 {
		t.Fatalf("%d records, want 2: a call to no target has none", len(records))
	}
	first, second := records[0], records[1]
	if first.Outcome != record.Admitted || second.Outcome != record.Throttled || second.Key != "127.0.1.9" {
		t.Errorf("got %v and %v from %q, want admitted, and throttled from 127.0.1.9", first.Outcome, second.Outcome, second.Key)
	}
	if first.Sent < at(10*time.Millisecond) || second.Sent < at(30*time.Millisecond) || first.Done < first.Sent {
		t.Errorf("sent after %v and %v, want no sooner than after 10ms and 30ms",
			time.Duration(first.Sent-begin), time.Duration(second.Sent-begin))
	}
	slices.Sort(seen)
	if want := []string{"GET 127.0.0.1", "HEAD 127.0.1.9"}; !slices.Equal(seen, want) {
		t.Errorf("the target saw %q, want %q", seen, want)
	}
}
