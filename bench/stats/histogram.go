package stats

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest duration a Histogram tells apart; longer ones count as
// this long.
const longest = int64(time.Hour)

// A Histogram counts durations. It keeps three significant digits from 1 ns to
// 1 h, so a quantile read from it is at most 0.1% off at any scale. The zero
// Histogram is empty and takes no memory.
type Histogram struct {
	hdr *hdrhistogram.Histogram
}

// Record counts one duration in nanoseconds. A negative one counts as 0: clocks
// read one after the other can differ by less than they resolve.
func (h *Histogram) Record(ns int64) {
	if h.hdr == nil {
		h.hdr = hdrhistogram.New(1, longest, 3)
	}
	_ = h.hdr.RecordValue(min(max(ns, 0), longest)) // within the range, so it cannot fail
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.hdr == nil {
		return
	}
	if h.hdr == nil {
		h.hdr = hdrhistogram.New(1, longest, 3)
	}
	h.hdr.Merge(o.hdr)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() int64 {
	if h.hdr == nil {
		return 0
	}
	return h.hdr.TotalCount()
}

// Quantile is the smallest recorded duration that a share of at least q of all
// recorded ones does not exceed, for q from 0 to 1. It is 0 for an empty
// Histogram: ask Count first.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.hdr == nil {
		return 0
	}
	return time.Duration(h.hdr.ValueAtQuantile(q * 100))
}

// Min is the shortest recorded duration, 0 when there is none.
func (h *Histogram) Min() time.Duration {
	if h.hdr == nil {
		return 0
	}
	return time.Duration(h.hdr.Min())
}

// Max is the longest recorded duration, 0 when there is none.
func (h *Histogram) Max() time.Duration {
	if h.hdr == nil {
		return 0
	}
	return time.Duration(h.hdr.Max())
}

// Mean is the mean of the recorded durations, 0 when there is none.
func (h *Histogram) Mean() time.Duration {
	if h.hdr == nil {
		return 0
	}
	return time.Duration(h.hdr.Mean())
}

// StdDev is the standard deviation of the recorded durations.
func (h *Histogram) StdDev() time.Duration {
	if h.hdr == nil {
		return 0
	}
	return time.Duration(h.hdr.StdDev())
}

// Encode writes the histogram in HdrHistogram's compressed V2 form, in base64,
// which every HdrHistogram library reads; empty for an empty Histogram.
func (h *Histogram) Encode() (string, error) {
	if h.hdr == nil {
		return "", nil
	}
	encoded, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return string(encoded), err
}

// A small histogram keeps two significant digits from 1 µs up: a tenth of the
// memory, for the many that a timeline holds.
type small struct{ Histogram }

func (s *small) record(ns int64) {
	if s.hdr == nil {
		s.hdr = hdrhistogram.New(int64(time.Microsecond), longest, 2)
	}
	s.Record(ns)
}

func (s *small) merge(o *small) {
	if s.hdr == nil {
		s.hdr = o.hdr // o is being folded away or belongs to a Summary given up to Merge
		return
	}
	s.Merge(&o.Histogram)
}
