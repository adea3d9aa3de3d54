package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPeak(t *testing.T) {
	for text, want := range map[string]float64{
		"constant:500/s": 500, "ramp:10/s-500/s": 500, "ramp:500/s-10/s": 500, "step:1/s,9/s,2/s": 9,
		"sine:50/s-150/s@10s": 150, "poisson:120/m": 2, "burst:20@500ms": 40, "edge:20@1s": 40, "users:9": 0, "max": 0,
	} {
		assert.InDelta(t, want, mustShape(t, text).Peak(), 1e-9, text)
	}
}
