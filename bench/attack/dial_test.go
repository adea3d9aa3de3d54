package attack_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/record"
)

// A turned attack plans what the two legs add up to: exactly, whatever the
// machine's speed, because planned instants come from arithmetic.
func TestDialTurnsTheRate(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	p := dialPlan(t, server.URL, "constant:1/s", 400*time.Millisecond)
	dial := &attack.Dial{}
	dial.Turn(1000, 200*time.Millisecond) // before the start: from nothing
	done, err := attack.Run(t.Context(), &p, attack.Config{Dial: dial, Sink: func([]record.Record) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	// 0 → 1000/s within 0.2 s is 100, then 0.2 s at 1000/s is 200.
	if got := done.Counts.Planned; math.Abs(float64(got)-300) > 1 {
		t.Errorf("planned %d requests, want 300", got)
	}
	for at, want := range map[time.Duration]float64{100 * time.Millisecond: 500, 300 * time.Millisecond: 1000, time.Second: 0} {
		if got := dial.Rate(&p, at); math.Abs(got-want) > 20 {
			t.Errorf("Rate(%s) = %g, want %g", at, got, want)
		}
	}
}

func TestDialWakesASlowAttack(t *testing.T) {
	t.Parallel()
	dial := &attack.Dial{}
	asked := atomic.Int64{}
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		switch asked.Add(1) {
		case 1:
			dial.Turn(500, 0) // the next one was planned an hour away
		case 20:
			stop()
		}
	}))
	defer server.Close()
	p := dialPlan(t, server.URL, "constant:1/h", 2*time.Hour)
	if _, err := attack.Run(ctx, &p, attack.Config{Dial: dial, Sink: func([]record.Record) error { return nil }}); ctx.Err() == nil {
		t.Fatalf("the attack ended by itself: %v", err)
	}
	if got := asked.Load(); got < 20 {
		t.Errorf("%d requests, want at least 20 after the rate was turned", got)
	}
}

func TestDialChangesTheUsers(t *testing.T) {
	t.Parallel()
	dial := &attack.Dial{MaxUsers: 8}
	inside, most := atomic.Int64{}, atomic.Int64{}
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		now := inside.Add(1)
		defer inside.Add(-1)
		most.Store(max(most.Load(), now))
		if most.Load() >= 8 { // never, unless the dial let more in
			stop()
		}
		if now == 2 {
			dial.Users(100) // capped at 8
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond): // an answer takes a while, so that users overlap
		}
	}))
	defer server.Close()
	p := dialPlan(t, server.URL, "users:2", time.Minute)
	_, err := attack.Run(ctx, &p, attack.Config{Dial: dial, Sink: func([]record.Record) error { return nil }})
	if ctx.Err() == nil {
		t.Fatalf("the attack ended by itself: %v", err)
	}
	if got := most.Load(); got != 8 {
		t.Errorf("at most %d requests in flight, want 8", got)
	}
}

func TestDialHoldsTheCeiling(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	p := dialPlan(t, server.URL, "max", 300*time.Millisecond)
	done, err := attack.Run(t.Context(), &p, attack.Config{
		Dial: &attack.Dial{Ceiling: 100}, Sink: func([]record.Record) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := done.Counts.Sent; got < 1 || got > 31 {
		t.Errorf("%d requests in 300 ms, want at most 31 below a ceiling of 100/s", got)
	}
}

func dialPlan(t *testing.T, url, shape string, duration time.Duration) plan.Plan {
	t.Helper()
	parsed, err := plan.ParseShape(shape)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Plan{
		Name: "dial", Shape: parsed, Duration: duration, CatchUp: -1,
		Targets: []plan.Target{{Method: http.MethodGet, URL: url}},
	}
}
