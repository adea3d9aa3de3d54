package plan

// Peak is the highest rate of the shape, in requests a second: bursts count with
// the mean over their period, closed shapes as 0.
func (s Shape) Peak() float64 {
	peak := 0.0
	for _, rate := range s.rates {
		peak = max(peak, rate.PerSecond())
	}
	if s.kind == kindBurst || s.kind == kindEdge {
		peak = float64(s.perPeriod()) / s.period.Seconds()
	}
	return peak
}
