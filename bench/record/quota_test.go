package record_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/bench/record"
)

var done = time.Date(2026, 11, 23, 18, 12, 0, 0, time.UTC).UnixNano()

func TestParseQuota(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header map[string]string
		want   func(*record.Quota)
	}{
		{"no header", nil, func(*record.Quota) {}},
		{"weir's own API", map[string]string{
			"X-RateLimit-Capacity": "20", "X-RateLimit-Rate": "5", "X-RateLimit-Remaining": "19.25",
			"X-RateLimit-Decided-At": "1795457520000123",
			"RateLimit":              `"default";r=19;t=1`, "RateLimit-Policy": `"default";q=20;w=4`,
		}, func(q *record.Quota) {
			q.Limit, q.Rate, q.Remaining, q.DecidedAt = 20, 5, 19.25, 1795457520000123
			q.FieldLeft, q.FieldReset, q.Quota, q.Window = 19, 1, 20, 4
		}},
		{"GitHub", map[string]string{
			"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795457580",
		}, func(q *record.Quota) { q.Limit, q.Remaining, q.Reset = 5000, 0, 1795457580 }},
		{
			"X",
			map[string]string{"x-rate-limit-limit": "15", "x-rate-limit-remaining": "3"},
			func(q *record.Quota) { q.Limit, q.Remaining = 15, 3 },
		},
		{"drafts 0 to 6 with policies behind the number", map[string]string{
			"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "1",
		}, func(q *record.Quota) { q.Limit, q.Remaining, q.Reset = 10, 9, 1 }},
		{"draft 7", map[string]string{
			"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=60",
		}, func(q *record.Quota) {
			q.Limit, q.FieldLeft, q.FieldReset, q.Quota, q.Window = 100, 50, 5, 100, 60
		}},
		{"two policies: the one with the fewest left", map[string]string{
			"RateLimit":        `"day";r=900;t=40000, "burst";r=3;t=2`,
			"RateLimit-Policy": `"burst";q=100;w=60,"day";q=1000;w=86400`,
		}, func(q *record.Quota) { q.FieldLeft, q.FieldReset, q.Quota, q.Window = 3, 2, 100, 60 }},
		{"a separator, a quote and a partition key inside an item", map[string]string{
			"RateLimit":        `"a,b;\"c";pk=:cHsdsRa894==:;r=7`,
			"RateLimit-Policy": `"other";q=1;w=1,"a,b;\"c";w=9;q=8;qu="requests"`,
		}, func(q *record.Quota) { q.FieldLeft, q.Quota, q.Window = 7, 8, 9 }},
		{"a policy of another name than the field's", map[string]string{
			"RateLimit": `"a";r=7`, "RateLimit-Policy": `"b";q=1;w=1, "c";q=2;w=2`,
		}, func(q *record.Quota) { q.FieldLeft = 7 }},
		{"Retry-After in seconds", map[string]string{"Retry-After": "3"}, func(q *record.Quota) { q.RetryAfter = 3 }},
		{"Retry-After as a date counts from Date", map[string]string{
			"Retry-After": "Mon, 23 Nov 2026 18:20:09 GMT", "Date": "Mon, 23 Nov 2026 18:20:00 GMT",
		}, func(q *record.Quota) { q.RetryAfter = 9 }},
		{"Retry-After as a date, no Date", map[string]string{
			"Retry-After": "Mon, 23 Nov 2026 18:12:02 GMT",
		}, func(q *record.Quota) { q.RetryAfter = 2 }},
		{"Retry-After as a date gone by", map[string]string{
			"Retry-After": "Mon, 23 Nov 2026 18:11:00 GMT",
		}, func(q *record.Quota) { q.RetryAfter = 0 }},
		{
			"Reset as a date",
			map[string]string{"X-RateLimit-Reset": "Mon, 23 Nov 2026 18:12:00 GMT"},
			func(q *record.Quota) { q.Reset = 1795457520 },
		},
		{"nonsense is absent", map[string]string{
			"X-RateLimit-Limit": "-1", "X-RateLimit-Rate": "NaN", "X-RateLimit-Remaining": "Inf", "X-RateLimit-Reset": "1e400",
			"Retry-After": "-1", "X-RateLimit-Decided-At": "-5", "RateLimit": `"a";r=-1;t=x, ;;;=,"`, "RateLimit-Policy": "0x10;w=..",
		}, func(*record.Quota) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			for name, value := range test.header {
				header.Set(name, value)
			}
			want := record.NoQuota
			test.want(&want)
			got := record.ParseQuota(header.Get, done)
			if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("ParseQuota(%v), -want +got:\n%s", test.header, diff)
			}
		})
	}
}

func FuzzParseQuota(f *testing.F) {
	f.Add("20", "3", `"a";r=1;t=2, "b";r=0`, `"a";q=1;w=2`)
	f.Add("1, 1;w=1", "Mon, 23 Nov 2026 18:12:02 GMT", "limit=1, remaining=2, reset=3", "10;w=1")
	f.Add("\\", `"\`, `"a\";r`, `;=,"`)
	f.Fuzz(func(t *testing.T, number, after, field, policy string) {
		header := map[string]string{
			"X-Ratelimit-Limit": number, "X-Ratelimit-Remaining": number, "X-Ratelimit-Reset": number,
			"X-Ratelimit-Decided-At": number, "Retry-After": after, "Ratelimit": field, "Ratelimit-Policy": policy,
		}
		q := record.ParseQuota(func(name string) string { return header[name] }, done)
		for _, n := range []float64{q.Limit, q.Remaining, q.Reset, q.RetryAfter, q.FieldLeft, q.FieldReset, q.Quota, q.Window} {
			if n < 0 || math.IsInf(n, 0) {
				t.Errorf("ParseQuota(%v) has a value of %g, want absent or from 0 up", header, n)
			}
		}
		if q.DecidedAt < 0 {
			t.Errorf("ParseQuota(%v).DecidedAt = %d, want absent or positive", header, q.DecidedAt)
		}
	})
}

func BenchmarkParseQuota(b *testing.B) {
	absent := http.Header{"Content-Type": {"application/json"}, "Content-Length": {"30"}, "Date": {"Mon, 23 Nov 2026 18:12:02 GMT"}}
	full := http.Header{
		"X-Ratelimit-Capacity": {"20"}, "X-Ratelimit-Rate": {"5"}, "X-Ratelimit-Remaining": {"19.25"},
		"X-Ratelimit-Decided-At": {"1795457520000123"}, "Ratelimit": {`"default";r=19;t=1`}, "Ratelimit-Policy": {`"default";q=20;w=4`},
	}
	for name, header := range map[string]http.Header{"absent": absent, "full": full} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				record.ParseQuota(header.Get, done)
			}
		})
	}
}
