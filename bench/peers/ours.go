package peers

import (
	"weir/api/limit"
	"weir/api/limit/memlimit"
	"weir/api/limit/redislimit"
)

// ours are the limiters of this repository.
func ours() []Peer {
	return []Peer{
		{
			Name: "weir", Redis: true,
			Open: func(env *Env, l limit.Limit, prefix string) (limit.Limiter, error) {
				return redislimit.New(env.Redis, l, redislimit.Config{Prefix: prefix})
			},
		},
		{
			Name: "weir-memlimit",
			Open: func(_ *Env, l limit.Limit, _ string) (limit.Limiter, error) {
				return memlimit.New(l, memlimit.Config{})
			},
		},
	}
}
