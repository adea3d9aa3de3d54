package judge

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// number writes n with commas: 1,234,567.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

func times(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + more
}

func tokens(n float64) string {
	if n < 0.01 {
		return "a hundredth of a token"
	}
	text := fmt.Sprintf("%.3g", n)
	if text == "1" {
		return "1 token"
	}
	return text + " tokens"
}

// figure writes a number of a header: six digits, but a Unix time in full.
func figure(x float64) string {
	if math.Abs(x) >= 1e6 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return fmt.Sprintf("%.6g", x)
}

// seconds writes a length of time as a person says it: 3.2 s, 450 ms, 12 µs.
func seconds(s float64) string {
	switch { // by what they round to: 999.6 ms is 1.0 s
	case s >= 0.9995 || s == 0:
		return fmt.Sprintf("%.1f s", s)
	case s >= 0.9995e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g µs", s*1e6)
}
