package judge_test

import (
	"testing"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record/convert"
)

// The saved histories are judged as testdata/README.md says.
func TestSavedHistories(t *testing.T) {
	t.Parallel()
	promise, err := limit.Parse("5/s,capacity=20")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		fresh   bool
		verdict string
		excess  float64 // least excess of over-admission
		wrong   int64   // least wrongful throttlings
	}{
		{"holds-overload", true, judge.Holds, 0, 0},
		{"inconclusive-below", false, judge.Inconclusive, 0, 0},
		{"broken-two-buckets", false, judge.Broken, 38, 0},
		{"broken-burst-short", true, judge.Broken, 0, 50},
	} {
		for _, clocks := range []string{judge.Sharp, judge.Interval} {
			records, err := convert.Open("testdata/"+test.name+".csv", nil, convert.Options{})
			if err != nil {
				t.Fatal(err)
			}
			j, err := judge.New(judge.Options{Limit: promise, Fresh: test.fresh})
			if err != nil {
				t.Fatal(err)
			}
			for batch := range records.Batches() {
				for i := range batch {
					if clocks == judge.Interval {
						batch[i].Quota.DecidedAt = 0
					}
				}
				if err := j.Add(batch); err != nil {
					t.Fatal(err)
				}
			}
			if err := records.Err(); err != nil {
				t.Fatal(err)
			}
			v := j.Verdict()
			over, wrong := v.OverAdmission.ExcessTokens, v.Throttling.Count
			if v.Verdict != test.verdict || over < test.excess || (over > 0) != (test.excess > 0) || wrong < test.wrong || (wrong > 0) != (test.wrong > 0) {
				t.Errorf("%s, %s mode: excess %.2f, %d wrongly throttled, %s", test.name, clocks, over, wrong, v.Sentence)
			}
			if clocks == judge.Sharp && v.Mode != judge.Sharp && test.name != "broken-two-buckets" {
				t.Errorf("%s was judged in %s mode, want %s", test.name, v.Mode, clocks)
			}
		}
	}
}
