package judge

import "slices"

// fairness gathers what each key asked for and got, in tokens.
type fairness struct {
	offered, admitted []int64
}

func (f *fairness) add(h *history) {
	offered, admitted := int64(0), int64(0)
	for i, cost := range h.cost {
		offered += cost
		if h.tookTokens(i) {
			admitted += cost
		}
	}
	f.offered, f.admitted = append(f.offered, offered), append(f.admitted, admitted)
}

// alike is by how much demands may differ from the median to count as equal.
const alike = 0.1

// report compares the keys with equal demand by Jain's index, (Σx)² / (n·Σx²) over
// their admitted tokens: 1 when all got the same, 1/n when one got everything
// (Jain, Chiu, Hawe 1984). It is a figure, not an accusation: two keys that ask
// alike may start with different levels.
func (f *fairness) report(throttles *Throttling) Isolation {
	out := Isolation{Keys: int64(len(f.offered)), Verdict: Inconclusive, KeysWronged: throttles.Keys}
	if len(f.offered) < 2 {
		return out
	}
	sorted := slices.Clone(f.offered)
	slices.Sort(sorted)
	median := float64(sorted[len(sorted)/2])
	var n, sum, squares float64
	for k, offered := range f.offered {
		if o := float64(offered); o < median*(1-alike) || o > median*(1+alike) {
			continue
		}
		got := f.admitted[k]
		if n == 0 {
			out.LeastTokens, out.MostTokens = got, got
		}
		out.LeastTokens, out.MostTokens = min(out.LeastTokens, got), max(out.MostTokens, got)
		n++
		sum += float64(got)
		squares += float64(got) * float64(got)
	}
	out.Compared = int64(n)
	if squares > 0 {
		out.Jain = sum * sum / (n * squares)
	}
	out.Verdict = Holds
	if throttles.Keys > 0 {
		out.Verdict = Broken
	}
	return out
}
