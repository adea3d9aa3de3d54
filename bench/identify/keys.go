package identify

import (
	"context"
	"slices"

	"weir/bench/attack"
	"weir/bench/record"
)

// Results of a comparison.
const (
	separate = "separate"
	shared   = "shared"
	notTold  = "not told"
)

// compare drains the limiter and asks as each other client at once: one that is
// admitted while the first is throttled has a limit of its own.
func (s *session) compare(ctx context.Context) error {
	for i := range s.Others {
		result := notTold
		for try := 0; try < len(s.Others[i].Calls) && result == notTold; try++ {
			var err error
			if result, err = s.compareOnce(ctx, s.Others[i].Calls[try]); err != nil {
				return err
			}
		}
		s.told = append(s.told, result)
	}
	return nil
}

func (s *session) compareOnce(ctx context.Context, other attack.Call) (string, error) {
	c := s.capacity()
	n := min(c, 4)
	first := slices.Repeat([]attack.Call{{}}, c+max(2, c/10))
	// After the first are decided, where that is before the next token comes.
	pause := s.belief.h.patience()
	if s.belief.best().rate.mid()*pause > 2 {
		pause = 0
	}
	other.At = s.prober.Now() + int64(pause*1e9)
	last := slices.Repeat([]attack.Call{{At: other.At}, other}, n)
	if len(first)+len(last) > s.left() || s.timeLeft() <= 0 {
		return notTold, errEnough
	}
	s.prober.Warm(len(first) + len(last))
	records := s.prober.Do(ctx, slices.Concat(first, last))
	s.spent += len(records)
	if ctx.Err() != nil {
		return notTold, ctx.Err()
	}
	s.records = append(s.records, records[:len(first)]...)
	var mine, theirs []record.Record
	for i, r := range records[len(first):] {
		if i%2 == 0 {
			mine = append(mine, r)
		} else {
			theirs = append(theirs, r)
		}
	}
	s.records = append(s.records, mine...)
	our, their := counts(mine), counts(theirs)
	switch {
	case their[record.Admitted] == n && our[record.Throttled] > n/2:
		s.others = append(s.others, named(theirs, "other client")...)
		return separate, nil
	case their[record.Throttled] > n/2 && our[record.Throttled] > n/2:
		s.records = append(s.records, theirs...) // they take from the same limit
		return shared, nil
	}
	s.others = append(s.others, named(theirs, "unclear")...)
	return notTold, nil
}

func named(records []record.Record, key string) []record.Record {
	for i := range records {
		records[i].Key = key + " " + records[i].Key
	}
	return records
}

// keys says what the limit is kept for.
func (s *session) keys(a *Answer) {
	var by, unclear []string
	for i, other := range s.Others {
		result := notTold
		if i < len(s.told) {
			result = s.told[i]
		}
		a.Compared = append(a.Compared, Comparison{other.Name, result})
		switch result {
		case separate:
			by = append(by, other.Name)
		case notTold:
			unclear = append(unclear, other.Name)
		}
	}
	switch {
	case len(by) > 0:
		a.Key = list(by)
	case len(s.told) > 0 && len(unclear) == 0:
		a.Key = everyone
	default:
		a.Key = notTold
	}
}

const everyone = "everyone together"
