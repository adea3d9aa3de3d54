package lua_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"weir/api/limit"
	"weir/api/limit/limittest"
)

// BenchmarkScript times one EVALSHA over a private Redis for one key and for
// many: what a round trip costs, and what a key in it costs.
func BenchmarkScript(b *testing.B) {
	rdb := open(b, limittest.Redis(b))
	for _, outcome := range []struct{ name, limit string }{
		{"admitted", "1000000/s,capacity=1000000000"},
		{"throttled", "1/h,capacity=1"},
	} {
		for _, keys := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("keys=%d/%s", keys, outcome.name), func(b *testing.B) {
				l, err := limit.Parse(outcome.limit)
				if err != nil {
					b.Fatal(err)
				}
				names, args := []string{}, []any{l.Rate.Tokens, l.Rate.Seconds, l.Capacity}
				for i := range keys {
					names, args = append(names, outcome.name+strconv.Itoa(i)), append(args, 1)
				}
				for b.Loop() {
					if err := script.EvalSha(context.Background(), rdb, names, args...).Err(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*keys)/b.Elapsed().Seconds(), "decisions/s")
			})
		}
	}
}
