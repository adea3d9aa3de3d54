package judge_test

import (
	"encoding/json"
	"testing"

	"weir/bench/judge"
	"weir/bench/record"
)

func mustJudge(t testing.TB, opt judge.Options, records []record.Record) *judge.Verdict {
	t.Helper()
	j, err := judge.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(records); err != nil {
		t.Fatal(err)
	}
	return j.Verdict()
}

// No correct limiter is accused, whatever its parameters, its clock, the network
// and the load: each seed is another world.
func TestCorrectLimiterIsNeverAccused(t *testing.T) {
	t.Parallel()
	worlds := uint64(12_000)
	if testing.Short() {
		worlds = 1000
	}
	verdicts, sharp, retries := map[string]int{}, 0, int64(0)
	for seed := range worlds {
		w := newWorld(seed)
		n := 1 + w.rng.IntN(120)
		records := w.run("a", n)
		if w.rng.IntN(3) == 0 {
			records = append(records, w.run("b", n/2+1)...)
		}
		v := mustJudge(t, w.options(), records)
		verdicts[v.Verdict]++
		retries += v.RetryAfter.Promises
		if v.Mode == judge.Sharp {
			sharp++
		}
		if v.Verdict == judge.Broken || v.Headers.Count > 0 {
			text, _ := json.MarshalIndent(v, "", "  ")
			t.Fatalf("seed %d: a correct limiter of %s was accused: %s", seed, w.limit, text)
		}
	}
	t.Logf("%d worlds: %v; %d in sharp mode; %d promises", worlds, verdicts, sharp, retries)
	if verdicts[judge.Holds] < int(worlds)/5 || sharp < int(worlds)/20 || retries == 0 {
		t.Errorf("the worlds are too tame to prove anything: %v, sharp %d, promises %d", verdicts, sharp, retries)
	}
}
