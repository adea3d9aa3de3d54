package plan_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/bench/plan"
)

func mustShape(tb testing.TB, text string) plan.Shape {
	tb.Helper()
	s, err := plan.ParseShape(text)
	require.NoError(tb, err)
	return s
}

func TestParseShape(t *testing.T) {
	for _, text := range []string{
		"constant:500/s", "constant:0.5/s", "constant:10/m", "ramp:10/s-500/s", "ramp:500/s-0/s", "step:100/s,0/s,400/s",
		"burst:20@1s", "burst:20@1s+5s", "burst:3@1m", "burst:3@1h", "edge:20@1s", "edge:20@1m+250ms",
		"sine:50/s-150/s@10s", "poisson:100/s", "users:50", "max",
	} {
		s, err := plan.ParseShape(text)
		if assert.NoError(t, err) {
			assert.Equal(t, text, s.String())
		}
	}
	assert.Equal(t, "constant:500/s", mustShape(t, " constant:500 ").String(), "a bare number is a rate per second")
	assert.Equal(t, "burst:20@1m30s", mustShape(t, "burst:20@90s").String())
}

func TestParseShapeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `unknown shape ""`,
		"spike:9/s":             `unknown shape "spike"`,
		"constant:-5/s":         `negative`,
		"constant:5/y":          `unknown unit "y"`,
		"constant:0/s":          `a rate of 0 sends nothing`,
		"constant:99999999/s":   `above 10000000/s`,
		"constant:1e9/s":        `not a number`,
		"ramp:10/s":             `want two rates`,
		"ramp:-1/s-5/s":         `want two rates`,
		"step:":                 `not a number`,
		"burst:20":              `no period`,
		"burst:0@1s":            `"0" is not a number of requests between 1 and 1000000`,
		"burst:20@1":            `period "1" is not a duration`,
		"burst:20@1us":          `period 1µs is not between`,
		"burst:20@1s+x":         `offset "x" is not a duration`,
		"burst:20@1s+-1s":       `offset -1s is not between`,
		"sine:5/s-1/s@1s":       `the lower rate comes first`,
		"sine:1/s-5/s@1s+100ms": `sine takes no offset`,
		"users:none":            `not a number of users`,
		"max:5":                 `max takes nothing`,
	} {
		_, err := plan.ParseShape(text)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), want)
			assert.Contains(t, err.Error(), "want constant:500/s, ramp:", "the choices are listed")
		}
	}
}

func TestShapeAsJSON(t *testing.T) {
	type holder struct{ Shape plan.Shape }
	for _, want := range []holder{{mustShape(t, "step:1/s,2/s")}, {}} {
		text, err := json.Marshal(want)
		require.NoError(t, err)
		var got holder
		require.NoError(t, json.Unmarshal(text, &got))
		assert.True(t, want.Shape.Equal(got.Shape), "%s", text)
	}
}

func TestArrivals(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		shape    string
		duration time.Duration
		want     []time.Duration
	}{
		{"constant:4/s", time.Second, []time.Duration{0, 250 * ms, 500 * ms, 750 * ms}},
		{"constant:3/s", time.Second, []time.Duration{0, 333_333_333, 666_666_667}},
		{"ramp:0/s-4/s", time.Second, []time.Duration{0, 707_106_781}},
		{"step:2/s,0/s,4/s", 3 * time.Second, []time.Duration{0, 500 * ms, 2000 * ms, 2250 * ms, 2500 * ms, 2750 * ms}},
		{"burst:2@1s", 2 * time.Second, []time.Duration{0, 0, 1000 * ms, 1000 * ms}},
		{"burst:2@1s+1500ms", 2 * time.Second, []time.Duration{1500 * ms, 1500 * ms}},
		{"edge:1@1s", 2 * time.Second, []time.Duration{20 * ms, 980 * ms, 1020 * ms, 1980 * ms}},
		{"edge:1@1s+500ms", time.Second, []time.Duration{480 * ms, 520 * ms}},
		{"users:5", time.Second, nil},
		{"max", time.Second, nil},
	} {
		got := slices.Collect(mustShape(t, c.shape).Arrivals(1, c.duration))
		assert.Equal(t, c.want, got, "%s over %s", c.shape, c.duration)
	}
}

// shapes draws the text of an open shape whose total stays small.
func shapes() *rapid.Generator[string] {
	rate := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"0.5/s", "1/s", "7/s", "99.25/s", "100/s", "333/s", "60/m", "1000/h"}).Draw(t, "rate")
	})
	duration := rapid.SampledFrom([]string{"40ms", "333ms", "1s", "2.5s"})
	return rapid.Custom(func(t *rapid.T) string {
		switch rapid.SampledFrom([]string{"constant", "ramp", "step", "burst", "edge", "sine", "poisson"}).Draw(t, "kind") {
		case "ramp":
			return "ramp:" + rate.Draw(t, "from") + "-" + rate.Draw(t, "to")
		case "step":
			return "step:" + strings.Join(rapid.SliceOfN(rate, 1, 4).Draw(t, "steps"), ",")
		case "burst":
			return "burst:7@" + duration.Draw(t, "period") + "+" + duration.Draw(t, "offset")
		case "edge":
			return "edge:7@" + duration.Draw(t, "period")
		case "sine":
			return "sine:0.1/s-" + rate.Draw(t, "high") + "@" + duration.Draw(t, "period")
		case "poisson":
			return "poisson:" + rate.Draw(t, "mean")
		}
		return "constant:" + rate.Draw(t, "rate")
	})
}

// The arrivals are sorted, within the plan, the same each time, as many as
// Total says, and any prefix holds as many as the rate integrates to.
func TestArrivalsFollowTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := shapes().Draw(t, "shape")
		s, err := plan.ParseShape(text)
		require.NoError(t, err)
		duration := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(5*time.Second)).Draw(t, "duration"))
		got := slices.Collect(s.Arrivals(3, duration))

		assert.True(t, slices.IsSorted(got))
		assert.Equal(t, got, slices.Collect(s.Arrivals(3, duration)))
		for _, at := range got {
			assert.GreaterOrEqual(t, at, time.Duration(0))
			assert.Less(t, at, duration)
		}
		if strings.HasPrefix(text, "poisson") {
			return // its count is random, see TestPoisson
		}
		assert.Equal(t, s.Total(duration), int64(len(got)))
		if strings.HasPrefix(text, "burst") || strings.HasPrefix(text, "edge") {
			return // no smooth rate
		}
		const parts = 2000
		sum, i, step := 0.0, 0, duration/parts
		for end := step; end <= duration; end += step {
			sum += s.Rate(end-step/2, duration) * step.Seconds()
			for i < len(got) && got[i] < end {
				i++
			}
			if slack := 1.01 + 500*4*step.Seconds(); math.Abs(sum-float64(i)) > slack {
				t.Fatalf("%s: %d requests in the first %s of %s, want %.2f", text, i, end, duration, sum)
			}
		}
	})
}

func TestPoisson(t *testing.T) {
	s := mustShape(t, "poisson:1000/s")
	got := slices.Collect(s.Arrivals(1, 100*time.Second))
	assert.InDelta(t, 100_000, len(got), 5*math.Sqrt(100_000), "within five standard deviations")
	assert.NotEqual(t, got[:9], slices.Collect(s.Arrivals(2, 100*time.Second))[:9], "another seed, other instants")

	// The gaps of a Poisson process vary as much as they are long.
	sum, squares := 0.0, 0.0
	for i := 1; i < len(got); i++ {
		gap := (got[i] - got[i-1]).Seconds()
		sum, squares = sum+gap, squares+gap*gap
	}
	n := float64(len(got) - 1)
	mean := sum / n
	assert.InDelta(t, 1, math.Sqrt(squares/n-mean*mean)/mean, 0.02)
}

func TestClosedShapes(t *testing.T) {
	assert.True(t, mustShape(t, "max").Closed())
	assert.True(t, mustShape(t, "users:3").Closed())
	assert.False(t, mustShape(t, "constant:1/s").Closed())
	assert.Equal(t, 3, mustShape(t, "users:3").Users())
	assert.Equal(t, time.Minute, mustShape(t, "edge:3@1m").Align())
}

func FuzzParseShape(f *testing.F) {
	for _, text := range []string{
		"constant:500/s", "ramp:10/s-500/s", "step:1/s,2/s", "burst:20@1s+5s", "edge:2@1m", "sine:1/s-2/s@3s", "poisson:9/h", "users:5", "max",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := plan.ParseShape(text)
		if err != nil {
			return
		}
		again, err := plan.ParseShape(s.String())
		if err != nil || !again.Equal(s) {
			t.Fatalf("ParseShape(%q) = %v, which reads back as %v (%v)", text, s, again, err)
		}
		last, n := time.Duration(0), 0
		for at := range s.Arrivals(1, time.Second) {
			if at < last || at >= time.Second {
				t.Fatalf("%s: arrival at %s after one at %s", s, at, last)
			}
			if last, n = at, n+1; n > 1000 {
				break
			}
		}
	})
}

func BenchmarkArrivals(b *testing.B) {
	for _, text := range []string{"constant:1000/s", "ramp:10/s-1000/s", "sine:10/s-1000/s@10s", "poisson:1000/s"} {
		b.Run(text, func(b *testing.B) {
			n := 0
			for range mustShape(b, text).Arrivals(1, time.Duration(b.N+1)*time.Second) {
				if n++; n > b.N {
					break
				}
			}
		})
	}
}
