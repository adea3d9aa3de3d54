package stats

import "weir/bench/record"

// Reason names what went wrong with a failed request, as Errors counts it, e.g.
// "503 Service Unavailable".
func Reason(r *record.Record) string { return reason(r) }
