package plan_test

import (
	"encoding/json"
	"testing"
	"time"

	"weir/bench/plan"
)

// A plan as it stands in a manifest is refused, or can be offered and written
// again.
func FuzzPlan(f *testing.F) {
	for _, entry := range plan.Standard(1, true) {
		text, err := json.Marshal(entry.Plan)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"name":"x","duration_ns":1,"shape":"max","targets":[{"method":"GET","url":"http://[::1/"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p plan.Plan
		if json.Unmarshal(text, &p) != nil || p.Validate() != nil {
			return
		}
		n, last := 0, time.Duration(0)
		for at := range p.Shape.Arrivals(p.Seed, p.Duration) {
			if at < last || at >= p.Duration {
				t.Fatalf("arrival at %s after one at %s, of a plan of %s", at, last, p.Duration)
			}
			if last, n = at, n+1; n > 1000 {
				break
			}
		}
		if p.Keys.Count <= 1000 {
			if key := p.Chooser().Key(7); (key == "") != (p.Keys.Count == 0) {
				t.Errorf("key %q of %d keys", key, p.Keys.Count)
			}
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q plan.Plan
		if err := json.Unmarshal(again, &q); err != nil || q.Validate() != nil {
			t.Errorf("%s is written as %s, which is refused (%v, %v)", text, again, err, q.Validate())
		}
	})
}
