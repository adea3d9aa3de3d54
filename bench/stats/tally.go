package stats

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
)

// A Tally counts how often each value occurred, for a bounded number of
// different values.
type Tally[T cmp.Ordered] struct {
	Others int64 // occurrences of values that came after the tally was full
	counts map[T]int64
	limit  int
}

// A Count is one value of a Tally.
type Count[T cmp.Ordered] struct {
	Value T
	Count int64
}

func (t *Tally[T]) add(value T, n int64) {
	if t.counts == nil {
		t.counts = map[T]int64{}
	}
	if _, known := t.counts[value]; !known && len(t.counts) >= t.limit {
		t.Others += n
		return
	}
	t.counts[value] += n
}

func (t *Tally[T]) merge(o *Tally[T]) {
	for _, c := range o.List() {
		t.add(c.Value, c.Count)
	}
	t.Others += o.Others
}

// List returns the values, the most frequent first.
func (t *Tally[T]) List() []Count[T] {
	list := make([]Count[T], 0, len(t.counts))
	for value, n := range t.counts {
		list = append(list, Count[T]{value, n})
	}
	slices.SortFunc(list, func(a, b Count[T]) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	return list
}

// statusText is "503 Service Unavailable", or the bare number of a status that
// has no name.
func statusText(status int) string {
	text := strconv.Itoa(status)
	if name := http.StatusText(status); name != "" {
		text += " " + name
	}
	return text
}
