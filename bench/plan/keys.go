package plan

import (
	"fmt"
	"math"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// How requests fall on keys.
const (
	Uniform = "uniform" // each request draws any key alike
	Turn    = "turn"    // one key after the other
	Zipf    = "zipf"    // key k is drawn with a weight of 1/k: a few keys get most of the load
)

// How a key is sent.
const (
	ViaHeader = "header" // header:X-API-Key
	ViaQuery  = "query"  // query:key
	ViaSource = "source" // a loopback source address for each key
)

const (
	defaultVia = ViaHeader + ":X-API-Key"
	maxKeys    = 1_000_000
	// maxSources keeps source addresses within 127.0.0.0/16, one for each host of its subnets.
	maxSources = 254 * 254
)

// Way returns how a key is sent: ViaHeader, ViaQuery or ViaSource, and the name
// of the header (canonical) or of the query's field.
func (k Keys) Way() (way, name string) {
	via := k.Via
	if via == "" {
		via = defaultVia
	}
	way, name, _ = strings.Cut(via, ":")
	if way == ViaHeader {
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	return way, name
}

// Validate reports what is wrong with the keys, and what would be right.
func (k Keys) Validate() error {
	way, name := k.Way()
	switch {
	case k.Count < 0 || k.Count > maxKeys:
		return fmt.Errorf("%d keys: want between 0 and %d", k.Count, maxKeys)
	case !slices.Contains([]string{"", Uniform, Turn, Zipf}, k.Spread):
		return fmt.Errorf("key spread %q: want %s, %s or %s", k.Spread, Uniform, Turn, Zipf)
	case !slices.Contains([]string{ViaHeader, ViaQuery, ViaSource}, way),
		(way == ViaSource) != (name == ""):
		return fmt.Errorf("keys via %q: want header:NAME, query:NAME or source", k.Via)
	case way == ViaHeader && !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("keys via %q: %q cannot be the name of a header", k.Via, name)
	case way == ViaSource && k.Count > maxSources:
		return fmt.Errorf("%d keys via source: there are only %d loopback addresses for them", k.Count, maxSources)
	}
	return nil
}

// A Chooser says which key a request is sent with. It is safe for concurrent
// use, and the same seed and number always give the same key.
type Chooser struct {
	spread  string
	seed    uint64
	names   []string
	weights []float64 // zipf: cumulative, the last is 1
}

// Chooser returns the plan's keys. Their names begin with the plan's, so that
// two plans against one API do not drain each other's buckets; keys sent as
// source addresses are named by the address, from 127.0.1.1 upwards.
func (p *Plan) Chooser() *Chooser {
	c := &Chooser{spread: p.Keys.Spread, seed: uint64(p.Seed), names: make([]string, p.Keys.Count)}
	way, _ := p.Keys.Way()
	prefix, width := p.Name, len(strconv.Itoa(max(p.Keys.Count-1, 0)))
	if prefix == "" {
		prefix = "key"
	}
	for i := range c.names {
		c.names[i] = fmt.Sprintf("%s-%0*d", prefix, width, i)
		if way == ViaSource {
			c.names[i] = fmt.Sprintf("127.0.%d.%d", 1+i/254, 1+i%254)
		}
	}
	if c.spread == Zipf {
		c.weights = make([]float64, p.Keys.Count)
		sum := 0.0
		for i := range c.weights {
			sum += 1 / float64(i+1)
			c.weights[i] = sum
		}
		for i := range c.weights {
			c.weights[i] /= sum
		}
	}
	return c
}

// Names lists all keys.
func (c *Chooser) Names() []string { return c.names }

// Key is the key of request n, counted from 0 over all planned requests; "" when
// the plan sends none.
func (c *Chooser) Key(n uint64) string {
	count := uint64(len(c.names))
	if count == 0 {
		return ""
	}
	switch c.spread {
	case Turn:
		return c.names[n%count]
	case Zipf:
		drawn := float64(mix(c.seed, n)>>11) / (1 << 53) // [0, 1)
		i, _ := slices.BinarySearch(c.weights, math.Nextafter(drawn, 2))
		return c.names[min(i, len(c.names)-1)]
	}
	return c.names[mix(c.seed, n)%count]
}

// mix is splitmix64's output function over a stream of its own for each seed:
// one draw for each number, without the state that a generator would keep.
func mix(seed, n uint64) uint64 {
	z := seed*0xd1342543de82ef95 + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
