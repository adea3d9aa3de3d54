package judge

// throttling accuses throttled request i if its tokens were there at every instant
// at which it can have been decided.
func (f *findings) throttling(h *history, i int, least int64) {
	if least < h.cost[i]*h.scale.unit {
		return
	}
	f.wrong++
	f.throttled = appendSome(f.throttled, WrongThrottle{
		Key: f.key, SentNS: h.cols.sent[h.row[i]], DoneNS: h.cols.done[h.row[i]],
		Cost: h.cost[i], TokensAtLeast: h.scale.tokens(least),
	})
}
