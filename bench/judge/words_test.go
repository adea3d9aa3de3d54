package judge

import "testing"

func TestWords(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"1.0 s": seconds(0.9996), "1 ms": seconds(0.0009996), "999 ms": seconds(0.999), "387 µs": seconds(387.262e-6),
		"1700000007": figure(1700000007), "0.9": figure(0.9), "26.2781": figure(26.27811),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	edge := func(x float64) *float64 { return &x }
	for want, b := range map[string]ErrorBucket{
		"more than 10.0 s too early": {To: edge(-10)}, "100 ms to 1.0 s too early": {From: edge(-1), To: edge(-0.1)},
		"up to 1 ms too early": {From: edge(-0.001), To: edge(0)}, "right, or up to 100 ms late": {From: edge(0), To: edge(0.1)},
		"2.0 s to 10.0 s too late": {From: edge(2), To: edge(10)}, "more than 60.0 s too late": {From: edge(60)},
	} {
		if b.String() != want {
			t.Errorf("%q, want %q", b, want)
		}
	}
}
