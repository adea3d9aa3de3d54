package peers

import (
	"weir/api/limit"
	"weir/api/limit/memlimit"
	"weir/api/limit/redislimit"
)

// ours are the limiters of this repository. The first is redislimit as it comes:
// it decides waiting takes together, and remembers who is throttled. The others
// take that away, or add to it.
func ours() []Peer {
	return []Peer{
		{Name: "weir", Redis: true, Open: openOurs(func(limit.Limit) redislimit.Config {
			return redislimit.Config{}
		})},
		{Name: "weir-no-memory", Redis: true, Open: openOurs(func(limit.Limit) redislimit.Config {
			return redislimit.Config{Remember: -1}
		})},
		{Name: "weir-plain", Redis: true, Open: openOurs(func(limit.Limit) redislimit.Config {
			return redislimit.Config{Batch: 1, Remember: -1}
		})},
		// With leases the promise is capacity + rate·t + Lease, so up to Lease
		// tokens of excess are no fault of this one.
		{Name: "weir-lease", Redis: true, Open: openOurs(func(l limit.Limit) redislimit.Config {
			return redislimit.Config{Lease: min(max(l.Capacity/2, 1), mostLease)}
		})},
		{Name: "weir-memlimit", Open: func(_ *Env, l limit.Limit, _ string) (limit.Limiter, error) {
			return memlimit.New(l, memlimit.Config{})
		}},
	}
}

// mostLease is how many tokens of a key a process holds in advance at most.
const mostLease = 1000

func openOurs(config func(limit.Limit) redislimit.Config) func(*Env, limit.Limit, string) (limit.Limiter, error) {
	return func(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
		c := config(l)
		c.Prefix = prefix
		return redislimit.New(env.Redis, l, c)
	}
}
