package peers_test

import (
	"io"
	"testing"

	"weir/api/limit"
	"weir/api/limit/limittest"
	"weir/bench/peers"
)

// TestAdapters checks that every adapter speaks of the limit it was given: of
// five takes from a bucket of three, three are admitted and two throttled.
func TestAdapters(t *testing.T) {
	env, err := peers.Dial(limittest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Close)
	l, err := limit.Parse("1/m,capacity=3")
	if err != nil {
		t.Fatal(err)
	}
	for _, peer := range peers.All() {
		t.Run(peer.Name, func(t *testing.T) {
			limiter, err := peer.Open(env, l, "adapters:"+peer.Name+":")
			if err != nil {
				t.Fatal(err)
			}
			if closer, ok := limiter.(io.Closer); ok {
				t.Cleanup(func() { _ = closer.Close() })
			}
			if got := limiter.Limit(); got != l {
				t.Errorf("Limit() = %s, want %s", got, l)
			}
			for i := range 5 {
				d, err := limiter.Take(t.Context(), "alice", 1)
				if err != nil {
					t.Fatalf("Take %d: %v", i, err)
				}
				if want := i < 3; d.Allowed != want {
					t.Errorf("Take %d = %+v, want allowed %t", i, d, want)
				}
			}
			if d, err := limiter.Take(t.Context(), "bob", 1); err != nil || !d.Allowed {
				t.Errorf("Take of another key = %+v, %v, want allowed", d, err)
			}
		})
	}
}
