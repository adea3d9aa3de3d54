package main

import (
	"strings"
	"testing"

	"weir/api/limit"
	"weir/bench/judge"
)

func holds() *judge.Verdict {
	return &judge.Verdict{
		Verdict:       judge.Holds,
		OverAdmission: judge.OverAdmission{Verdict: judge.Holds}, Throttling: judge.Throttling{Verdict: judge.Holds},
	}
}

func over(excess float64) *judge.Verdict {
	v := holds()
	v.Verdict = judge.Broken
	v.OverAdmission = judge.OverAdmission{Verdict: judge.Broken, ExcessTokens: excess, Bound: 200}
	return v
}

func TestBucketIsAboutAdmissions(t *testing.T) {
	t.Parallel()
	headersLie := holds()
	headersLie.Verdict, headersLie.Headers = judge.Broken, judge.Headers{Verdict: judge.Broken, Answers: 9, Count: 3}
	unclear := holds()
	unclear.Verdict = judge.Inconclusive
	tests := []struct {
		name    string
		windows bool
		trials  []*trial
		bucket  string
		excess  string
		headers string
	}{
		{"all hold", false, []*trial{{Verdict: holds()}}, "holds", "0", "none sent"},
		{"headers lie about a bucket that holds", false, []*trial{{Verdict: headersLie}}, "holds", "0", "3 contradict"},
		{"one trial tells nothing", false, []*trial{{Verdict: unclear}, {Verdict: holds()}}, "inconclusive", "0", "none sent"},
		{"the worst excess counts", false, []*trial{{Name: "a", Verdict: over(5)}, {Name: "b", Verdict: over(50)}, {Verdict: unclear}}, "**broken**", "50 of 200, +25 % (b)", "none sent"},
		{"windows keep what they promise", true, []*trial{{Name: "a", Verdict: over(5), AsWindows: holds()}}, "**broken** (windows: hold)", "5 of 200, +2 % (a)", "none sent"},
		{"windows do not", true, []*trial{{Name: "a", Verdict: over(5), AsWindows: over(1)}}, "**broken** (windows: **broken**)", "5 of 200, +2 % (a)", "none sent"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := row{Windows: test.windows, Findings: test.trials}
			for _, cell := range []struct{ name, got, want string }{
				{"bucket", r.bucket(), test.bucket}, {"excess", r.excess(), test.excess}, {"headers", r.headers(), test.headers},
			} {
				if cell.got != cell.want {
					t.Errorf("%s = %q, want %q", cell.name, cell.got, cell.want)
				}
			}
		})
	}
}

// TestPromisesAreFilledIn checks that no brace of a promise is left over, and
// that one and the same long-run rate is asked of windows.
func TestPromisesAreFilledIn(t *testing.T) {
	t.Parallel()
	l, err := limit.Parse(fast)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contestants {
		if says := c.says(l); !strings.Contains(says, "200") && !strings.Contains(says, "199") || strings.Contains(says, "{rate}") || strings.Contains(says, "{capacity") {
			t.Errorf("%s promises %q, want the limit %s in its words", c.name, says, l)
		}
	}
	if got := window(l).String(); got != "2s" {
		t.Errorf("window(%s) = %s, want 2s", l, got)
	}
}
