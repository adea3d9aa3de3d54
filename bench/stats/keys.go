package stats

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"weir/api/limit"
	"weir/bench/record"
)

// Keys are the keys of an attack.
type Keys struct {
	Others Key // the keys past the bound, together

	origin int64
	index  map[string]*Key
	last   *Key // of the record before: most attacks send runs of one key
	lines  int
}

// A Key is what happened to one key.
type Key struct {
	Name     string
	Requests int64
	Outcomes [len(record.Outcomes)]int64 // by record.Outcome
	Tokens   int64                       // admitted cost
	First    int64                       // first sent, ns since the epoch
	Last     int64                       // last done, ns since the epoch

	// Line is the key over time; nil for all but the first few hundred keys seen.
	Line *Timeline[KeyCell, *KeyCell]
}

// A KeyCell is what one key saw within one step, by the done instant.
type KeyCell struct {
	Tokens int64   // admitted cost
	Told   int64   // answers that said how many tokens remain
	Lowest float64 // the fewest that such an answer said; meaningless when Told is 0
}

func (c *KeyCell) merge(o *KeyCell) {
	if o.Told > 0 && (c.Told == 0 || o.Lowest < c.Lowest) {
		c.Lowest = o.Lowest
	}
	c.Told += o.Told
	c.Tokens += o.Tokens
}

// Len is the number of different keys counted one by one.
func (k *Keys) Len() int { return len(k.index) }

// Complete says that no key is in Others.
func (k *Keys) Complete() bool { return k.Others.Requests == 0 }

// Top returns the n keys with the most requests, the busiest first, and all
// other keys added up, which has Requests 0 when there are none.
func (k *Keys) Top(n int) (top []*Key, rest Key) {
	all := make([]*Key, 0, len(k.index))
	for _, key := range k.index {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b *Key) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	top, others := all[:min(n, len(all))], all[min(n, len(all)):]
	rest = k.Others
	rest.Name = Rest
	for _, key := range others {
		rest.merge(key)
	}
	return top, rest
}

// Busiest returns the key with the most requests among those that have a Line;
// nil without records.
func (k *Keys) Busiest() *Key {
	var busiest *Key
	for _, key := range k.index {
		if key.Line == nil {
			continue
		}
		if busiest == nil || key.Requests > busiest.Requests ||
			key.Requests == busiest.Requests && key.Name < busiest.Name {
			busiest = key
		}
	}
	return busiest
}

// Allowed is the most tokens that a limit lets all keys together have at the
// end of each of n steps after the origin: the sum of capacity + rate·t over
// the keys, each counted from its own first request. It is nil when not every
// key was counted.
func (k *Keys) Allowed(l limit.Limit, step time.Duration, n int) []float64 {
	if !k.Complete() {
		return nil
	}
	allowed := make([]float64, n)
	begun := make([]float64, n)   // keys that begin within a step
	offsets := make([]float64, n) // sum of when they do, in seconds
	for _, key := range k.index {
		after := max(key.First-k.origin, 0)
		if i := after / int64(step); i < int64(n) {
			begun[i]++
			offsets[i] += float64(after) / 1e9
		}
	}
	keys, offset := 0.0, 0.0
	for i := range allowed {
		keys, offset = keys+begun[i], offset+offsets[i]
		end := float64(i+1) * step.Seconds()
		allowed[i] = keys*float64(l.Capacity) + l.Rate.PerSecond()*(keys*end-offset)
	}
	return allowed
}

func (k *Keys) add(r *record.Record) {
	key := k.of(r.Key)
	key.Requests++
	key.Outcomes[r.Outcome]++
	if r.Outcome == record.Admitted {
		key.Tokens += r.Cost
	}
	key.span(r.Sent, r.Done)
	if key.Line == nil {
		return
	}
	cell := KeyCell{Told: 1, Lowest: remaining(&r.Quota)}
	if math.IsNaN(cell.Lowest) {
		cell = KeyCell{}
	}
	if r.Outcome == record.Admitted {
		cell.Tokens = r.Cost
	}
	key.Line.at(r.Done).merge(&cell)
}

// of returns the key's numbers, those of Others when there are too many keys.
func (k *Keys) of(name string) *Key {
	if k.last != nil && k.last.Name == name {
		return k.last
	}
	key, known := k.index[name]
	switch {
	case known:
	case len(k.index) >= maxKeys:
		return &k.Others
	default:
		key = &Key{Name: strings.Clone(name)}
		if k.lines < maxKeyLines {
			k.lines++
			key.Line = newTimeline[KeyCell](k.origin, finest, maxSteps)
		}
		k.index[key.Name] = key
	}
	k.last = key
	return key
}

func (k *Keys) merge(o *Keys) {
	for name, key := range o.index {
		mine := k.of(name)
		mine.merge(key)
		switch {
		case mine.Line != nil && key.Line != nil:
			mine.Line.merge(key.Line)
		case mine.Line != nil:
			mine.Line = nil // half a line would be a wrong one
			k.lines--
		}
	}
	k.Others.merge(&o.Others)
}

// merge adds all but the Line.
func (k *Key) merge(o *Key) {
	if o.Requests == 0 {
		return
	}
	k.Requests += o.Requests
	k.Tokens += o.Tokens
	for i := range k.Outcomes {
		k.Outcomes[i] += o.Outcomes[i]
	}
	k.span(o.First, o.Last)
}

func (k *Key) span(first, last int64) {
	if k.First == 0 || first < k.First {
		k.First = first
	}
	k.Last = max(k.Last, last)
}

// Elapsed is the time from the key's first request to its last answer.
func (k *Key) Elapsed() time.Duration { return time.Duration(k.Last - k.First) }

// remaining is how many tokens an answer said are left; NaN when it did not.
func remaining(q *record.Quota) float64 {
	if math.IsNaN(q.Remaining) {
		return q.FieldLeft
	}
	return q.Remaining
}
