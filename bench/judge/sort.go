package judge

import (
	"cmp"
	"slices"
)

// scratch is memory that one key after the other uses, so that a hundred thousand
// keys cost no more garbage than the largest of them. Steps that are never at work
// together share it.
type scratch struct {
	start, end, cost []int64 // the history
	perm, permSpare  []int32 // orders; ranks
	one, two         []int64 // sorting; then over-admission; then retries
	low, high        []int64 // levels
	tree             sumTree
	lowest           minTree
	levels           levels
}

// sized returns a slice of n elements over the memory of *buffer, grown if need
// be. The elements are not cleared.
func sized[T any](buffer *[]T, n int) []T {
	if cap(*buffer) < n {
		*buffer = make([]T, n)
	}
	return (*buffer)[:n]
}

// sortRows sorts rows by key(row), keeping the order of equal keys. Recordings
// are nearly sorted or fully so; keys within a run share their high bits. So: look
// first, then a radix sort that skips digits in which all keys agree.
func sortRows(rows []int32, key func(int32) int64, s *scratch) {
	if isSorted(rows, key) {
		return
	}
	if len(rows) <= 256 {
		slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(key(a), key(b)) })
		return
	}
	keys := sized(&s.one, len(rows))
	lowest := key(rows[0])
	for i, row := range rows {
		keys[i] = key(row)
		lowest = min(lowest, keys[i])
	}
	for i := range keys {
		keys[i] = int64(uint64(keys[i]) - uint64(lowest)) // as unsigned: never overflows
	}
	radix(keys, rows, sized(&s.two, len(rows)), sized(&s.permSpare, len(rows)))
}

func isSorted(rows []int32, key func(int32) int64) bool {
	for i := 1; i < len(rows); i++ {
		if key(rows[i-1]) > key(rows[i]) {
			return false
		}
	}
	return true
}

const (
	digitBits   = 11
	digitValues = 1 << digitBits
)

// radix sorts keys, taken as unsigned, and moves rows with them.
func radix(keys []int64, rows []int32, keySpare []int64, rowSpare []int32) {
	inKeys, inRows := keys, rows
	for shift := 0; shift < 64; shift += digitBits {
		var count [digitValues]int
		for _, k := range inKeys {
			count[uint64(k)>>shift&(digitValues-1)]++
		}
		if count[uint64(inKeys[0])>>shift&(digitValues-1)] == len(keys) {
			continue
		}
		at := 0
		for d := range count {
			count[d], at = at, at+count[d]
		}
		for i, k := range inKeys {
			d := uint64(k) >> shift & (digitValues - 1)
			keySpare[count[d]], rowSpare[count[d]] = k, inRows[i]
			count[d]++
		}
		inKeys, keySpare = keySpare, inKeys
		inRows, rowSpare = rowSpare, inRows
	}
	copy(rows, inRows)
}
