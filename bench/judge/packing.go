package judge

import (
	"slices"
	"sort"
)

// packBudget bounds the steps that exact packing takes for one verdict, about
// half a second. A key takes (admitted requests)² steps, in the order in which the
// keys first came; a budget of steps, not of time, keeps verdicts the same everywhere.
const packBudget = 1e8

// packing settles the last token. Instants of decision inside [start, end] that obey
// the limit exist if and only if jobs, one for each admitted request, of length
// cost/r, released at start, due at end + B/r, can be run on one machine without
// being interrupted.
//
// Proof. Given such instants, a queue that serves r tokens a second in order of
// decision holds at most B tokens, so each job is done within B/r of its instant:
// that is a schedule. Given a schedule, decide each request when its job starts, but
// no later than end. The jobs decided in [u, v] then start at or after u and are done
// by v + B/r, one after the other: their cost is at most r·(v − u) + B. ∎
//
// For jobs of one length that is decided by Garey, Johnson, Simons and Tarjan
// (SIAM J. Comput. 10, 1981, 256–269). Go through releases from the last to the
// first. For each due date d keep latest(d): when the first of the jobs seen so far
// that are due by d must start at the latest, packing them backwards from d. If that
// is before the release at hand, there is no schedule. If it is less than one length
// after it, no job may start in (latest − length, release): it would still run when
// these must start, and they cannot start earlier. Packing steps over such regions.
//
// It is only asked where containment found nothing but came within one request of
// the bound: with a request to spare there always is a schedule. It returns the
// window in which the requests cannot be placed, with what they lack as excess.
func (t *trial) packing(h *history, byDone []int32, fullest *window) *window {
	n := len(byDone)
	s := &h.scale
	cost := h.cost[byDone[0]]
	if fullest.excess > 0 || fullest.excess <= -cost*s.unit || s.rate == 0 || t.packed+n*n > packBudget {
		return nil
	}
	p := packer{length: cost * s.unit, latest: sized(&t.scratch.one, n)}
	rank := sized(&t.scratch.permSpare, len(h.start))
	for at, i := range byDone {
		if h.cost[i] != cost {
			return nil
		}
		rank[i] = int32(at)
		p.latest[at] = s.rate*s.fastUp(h.end[i]) + s.full
	}
	t.packed += n * n
	for i, start := range slices.Backward(h.start) {
		if !h.tookTokens(i) {
			continue
		}
		p.add(int(rank[i]))
		release := s.rate * s.fastDown(start)
		if p.first < release {
			w := &window{excess: release - p.first, first: i, last: byDone[p.at], scale: *s, sharp: h.sharp, packed: true}
			w.gather(h, byDone[:p.at+1])
			return w
		}
		p.forbid(release)
	}
	return nil
}

// A packer packs jobs of one length backwards from their due dates.
type packer struct {
	length  int64
	latest  []int64  // by rank of due date: where packing has come to
	regions []region // in which no job may start, from the last to the first, apart
	first   int64    // the least of the latest that changed last
	at      int      // and whose it is
}

type region struct{ from, to int64 } // both ends allowed

// add packs one more job that is due at the given rank, and so by all later ones.
func (p *packer) add(rank int) {
	p.first = never
	for d := rank; d < len(p.latest); d++ {
		p.latest[d] = p.before(p.latest[d] - p.length)
		if p.latest[d] < p.first {
			p.first, p.at = p.latest[d], d
		}
	}
}

// before is the last instant up to x at which a job may start.
func (p *packer) before(x int64) int64 {
	i := sort.Search(len(p.regions), func(i int) bool { return p.regions[i].from < x })
	if i < len(p.regions) && x < p.regions[i].to {
		return p.regions[i].from
	}
	return x
}

func (p *packer) forbid(release int64) {
	if p.first >= release+p.length {
		return
	}
	r := region{p.first - p.length, release}
	if r.from >= r.to {
		return
	}
	for n := len(p.regions); n > 0 && p.regions[n-1].from < r.to; n-- { // they overlap
		r = region{min(r.from, p.regions[n-1].from), max(r.to, p.regions[n-1].to)}
		p.regions = p.regions[:n-1]
	}
	p.regions = append(p.regions, r)
}
