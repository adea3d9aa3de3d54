package stats

import (
	"time"

	"github.com/montanaflynn/stats"

	"weir/bench/record"
)

// A Spread describes a handful of numbers, such as one figure for each second
// of an attack. The zero Spread describes none.
type Spread struct {
	N                int
	Mean, StdDev     float64
	Min, Low, Median float64 // Low and High are the quartiles
	High, Max        float64
}

// Describe returns the spread of numbers; StdDev is that of the numbers
// themselves (divided by n). A single number is its own quartiles.
func Describe(numbers []float64) Spread {
	data := stats.Float64Data(numbers)
	if data.Len() == 0 {
		return Spread{}
	}
	// Each of these fails on empty input only.
	s := Spread{N: data.Len()}
	s.Mean, _ = data.Mean()
	s.StdDev, _ = data.StandardDeviation()
	s.Min, _ = data.Min()
	s.Max, _ = data.Max()
	s.Median, _ = data.Median()
	s.Low, s.High = s.Median, s.Median
	if s.N > 1 {
		quartiles, _ := stats.Quartile(data)
		s.Low, s.High = quartiles.Q1, quartiles.Q3
	}
	return s
}

// PerSecond returns the counts over time in steps of at least a second.
func (s *Summary) PerSecond() *Timeline[Cell, *Cell] {
	t := *s.Timeline
	t.Cells = append([]Cell(nil), t.Cells...)
	for t.Step < time.Second {
		t.double()
	}
	return &t
}

// Rate is the spread over whole seconds of how many requests a second ended
// with an outcome. The last, partial, step is left out; an attack that has no
// whole step has no spread.
func (s *Summary) Rate(o record.Outcome) Spread {
	t := s.PerSecond()
	rates := []float64{}
	for i := range t.Cells {
		if end := t.Origin + int64(i+1)*int64(t.Step); end <= s.Last {
			rates = append(rates, float64(t.Cells[i].Outcomes[o])/t.Step.Seconds())
		}
	}
	return Describe(rates)
}
