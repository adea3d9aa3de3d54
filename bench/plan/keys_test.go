package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"weir/api/limit"
	"weir/bench/plan"
)

func chooser(keys plan.Keys, seed int64) *plan.Chooser {
	return (&plan.Plan{Name: "many", Seed: seed, Keys: keys}).Chooser()
}

func count(c *plan.Chooser, n uint64) map[string]int {
	hits := map[string]int{}
	for i := range n {
		hits[c.Key(i)]++
	}
	return hits
}

func TestKeyNames(t *testing.T) {
	assert.Empty(t, chooser(plan.Keys{}, 1).Key(7), "no keys, none sent")
	names := chooser(plan.Keys{Count: 1000}, 1).Names()
	assert.Equal(t, "many-000", names[0])
	assert.Equal(t, "many-999", names[999])
	names = chooser(plan.Keys{Count: 300, Via: "source"}, 1).Names()
	assert.Equal(t, "127.0.1.1", names[0])
	assert.Equal(t, "127.0.1.254", names[253])
	assert.Equal(t, "127.0.2.1", names[254])
}

func TestKeySpreads(t *testing.T) {
	hits := count(chooser(plan.Keys{Count: 10, Spread: plan.Turn}, 1), 100)
	for key, n := range hits {
		assert.Equal(t, 10, n, key)
	}

	hits = count(chooser(plan.Keys{Count: 10}, 1), 100_000)
	require.Len(t, hits, 10)
	for key, n := range hits {
		assert.InDelta(t, 10_000, n, 500, "uniform is five standard deviations from even at %s", key)
	}

	hits = count(chooser(plan.Keys{Count: 1000, Spread: plan.Zipf}, 1), 100_000)
	harmonic := 7.4855 // 1 + 1/2 + … + 1/1000
	for key, rank := range map[string]float64{"many-000": 1, "many-001": 2, "many-009": 10} {
		assert.InEpsilon(t, 100_000/harmonic/rank, hits[key], 0.1, key)
	}
}

func TestKeysRepeat(t *testing.T) {
	for _, spread := range []string{plan.Uniform, plan.Turn, plan.Zipf} {
		keys := plan.Keys{Count: 50, Spread: spread}
		a, b, other := chooser(keys, 7), chooser(keys, 7), chooser(keys, 8)
		differ := false
		for i := range uint64(100) {
			assert.Equal(t, a.Key(i), b.Key(i))
			differ = differ || a.Key(i) != other.Key(i)
		}
		assert.Equal(t, spread != plan.Turn, differ, "%s: another seed, other keys", spread)
	}
}

func valid(t *testing.T) plan.Plan {
	return plan.Plan{
		Name: "steady", Duration: time.Second, Shape: mustShape(t, "constant:10/s"),
		Targets: []plan.Target{{Method: "GET", URL: "http://127.0.0.1:8000/items"}},
	}
}

func TestValidate(t *testing.T) {
	good := valid(t)
	require.NoError(t, good.Validate())
	for want, breakIt := range map[string]func(*plan.Plan){
		"names a folder":               func(p *plan.Plan) { p.Name = "../x" },
		"no shape":                     func(p *plan.Plan) { p.Shape = plan.Shape{} },
		"duration 0s":                  func(p *plan.Plan) { p.Duration = 0 },
		"cost -1":                      func(p *plan.Plan) { p.Cost = -1 },
		"timeout -1s":                  func(p *plan.Plan) { p.Timeout = -time.Second },
		"-1 workers":                   func(p *plan.Plan) { p.Workers = -1 },
		"every user is one worker":     func(p *plan.Plan) { p.Shape, p.Workers = mustShape(t, "users:3"), 4 },
		"no target":                    func(p *plan.Plan) { p.Targets = nil },
		"sends nothing in 1s":          func(p *plan.Plan) { p.Shape = mustShape(t, "burst:5@1s+5s") },
		"key spread \"even\"":          func(p *plan.Plan) { p.Keys.Spread = "even" },
		"keys via \"cookie:a\"":        func(p *plan.Plan) { p.Keys.Via = "cookie:a" },
		"keys via \"header:\"":         func(p *plan.Plan) { p.Keys.Via = "header:" },
		"keys via \"source:x\"":        func(p *plan.Plan) { p.Keys.Via = "source:x" },
		"cannot be the name of a head": func(p *plan.Plan) { p.Keys.Via = "header:a b" },
		"only 64516 loopback":          func(p *plan.Plan) { p.Keys = plan.Keys{Count: 70_000, Via: "source"} },
		"throttle status 42":           func(p *plan.Plan) { p.ThrottleStatus = []int{42} },
		"capacity 0":                   func(p *plan.Plan) { p.Limit = &limit.Limit{Rate: limit.Rate{Tokens: 1, Seconds: 1}} },
		"begins with http":             func(p *plan.Plan) { p.Targets[0].URL = "127.0.0.1:8000" },
		"no host":                      func(p *plan.Plan) { p.Targets[0].URL = "http:///items" },
		"cannot be a method":           func(p *plan.Plan) { p.Targets[0].Method = "G T" },
		"cannot have the value":        func(p *plan.Plan) { p.Targets[0].Header = map[string][]string{"A": {"b\nc"}} },
	} {
		p := valid(t)
		breakIt(&p)
		err := p.Validate()
		if assert.Error(t, err, want) {
			assert.Contains(t, err.Error(), want)
			assert.Contains(t, err.Error(), "plan ")
		}
	}
}

func TestDefaults(t *testing.T) {
	p := valid(t)
	assert.Equal(t, 10*time.Second, p.RequestTimeout())
	assert.Equal(t, int64(1), p.TokenCost())
	assert.Equal(t, 10_000, p.MaxWorkers())
	late, bounded := p.MaxLate()
	assert.True(t, bounded)
	assert.Equal(t, 10*time.Millisecond, late)
	p.CatchUp = -1
	_, bounded = p.MaxLate()
	assert.False(t, bounded)
	for text, want := range map[string]time.Duration{"burst:5@2s": 200 * time.Millisecond, "burst:5@10ms": 10 * time.Millisecond, "edge:5@1s": 20 * time.Millisecond} {
		p.Shape, p.CatchUp = mustShape(t, text), 0
		late, _ = p.MaxLate()
		assert.Equal(t, want, late, text)
		assert.Equal(t, 5, p.Shape.Burst())
	}
	p.Shape = mustShape(t, "users:7")
	assert.Equal(t, 7, p.MaxWorkers())
}
