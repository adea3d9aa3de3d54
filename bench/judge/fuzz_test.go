package judge_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
)

// FuzzJudge judges any records at all: it always comes to a verdict that JSON can
// hold, and the order in which the records come does not matter.
func FuzzJudge(f *testing.F) {
	f.Add(int64(20), int64(5), int64(1), uint8(0), []byte("a small history of nothing in particular, long enough for a few records"))
	f.Add(int64(1), int64(0), int64(3600), uint8(7), make([]byte, 300))
	f.Add(int64(1<<40), int64(1<<30), int64(1), uint8(3), []byte{255, 255, 255, 255, 255, 255, 255, 127, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Fuzz(func(t *testing.T, capacity, tokens, seconds int64, how uint8, data []byte) {
		opt := judge.Options{
			Limit: limit.Limit{Capacity: capacity, Rate: limit.Rate{Tokens: tokens, Seconds: seconds}},
			Fresh: how&1 != 0, Planned: how&2 != 0, Incomplete: how&4 != 0, Granularity: time.Duration(how>>4) * time.Millisecond,
		}
		if how&8 != 0 {
			opt.Tick, opt.Drift = -1, -1
		}
		if _, err := judge.New(opt); err != nil {
			t.Skip(err)
		}
		records := recordsOf(data, how)
		first := verdictOf(t, opt, records)
		rand.New(rand.NewPCG(1, uint64(how))).Shuffle(len(records), func(i, k int) { records[i], records[k] = records[k], records[i] })
		second := verdictOf(t, opt, records)
		if first.Verdict != second.Verdict || first.OverAdmission.ExcessTokens != second.OverAdmission.ExcessTokens ||
			first.Throttling.Count != second.Throttling.Count || first.RetryAfter.TooEarly != second.RetryAfter.TooEarly {
			t.Errorf("the order of records matters:\n%+v\n%+v", first, second)
		}
	})
}

func verdictOf(t *testing.T, opt judge.Options, records []record.Record) *judge.Verdict {
	t.Helper()
	j, err := judge.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(records); err != nil {
		t.Skip(err)
	}
	v := j.Verdict()
	if _, err := json.Marshal(v); err != nil {
		t.Fatalf("verdict is not JSON: %v", err)
	}
	if !slices.Contains([]string{judge.Holds, judge.Broken, judge.Inconclusive}, v.Verdict) || v.Sentence == "" {
		t.Fatalf("not a verdict: %+v", v)
	}
	return v
}

// recordsOf makes records of bytes, 16 each: near each other or, as how says, far
// apart.
func recordsOf(data []byte, how uint8) []record.Record {
	var records []record.Record
	for ; len(data) >= 16; data = data[16:] {
		sent := int64(binary.LittleEndian.Uint64(data)) >> (how >> 4 * 4)
		took := int64(binary.LittleEndian.Uint32(data[8:]))
		r := record.Record{
			Key: string(data[12:13]), Cost: int64(data[13] >> 4), Sent: sent, Done: sent + took,
			Outcome: record.Outcome(data[13] & 15 % 3), Quota: record.NoQuota,
		}
		r.Key = []string{"a", "b"}[r.Key[0]&1]
		if data[14]&1 != 0 {
			r.Quota.DecidedAt = sent / 1000
			r.Quota.Remaining, r.Quota.Limit = float64(data[15]), float64(data[14])
		}
		if data[14]&2 != 0 {
			r.Quota.RetryAfter = float64(int8(data[15]))
			r.Quota.FieldLeft = math.Inf(int(int8(data[15])))
			r.Quota.Quota, r.Quota.Window = float64(data[13]), float64(data[15])
		}
		records = append(records, r)
	}
	return records
}

// FuzzCorrectLimiter looks for a world in which a correct limiter is accused.
func FuzzCorrectLimiter(f *testing.F) {
	f.Add(uint64(1), uint16(100))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) {
		w := newWorld(seed)
		v := mustJudge(t, w.options(), w.run("a", 1+int(n%300)))
		if v.Verdict == judge.Broken || v.Headers.Count > 0 {
			t.Errorf("a correct limiter of %s was accused: %s", w.limit, v.Sentence)
		}
	})
}
