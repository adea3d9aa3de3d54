package report

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Numbers for people: three significant digits, a unit on each, thousands apart.

// count writes 1234567 as "1,234,567".
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// number writes x with three significant digits, and all digits of the whole
// part: 0.0123, 4.98, 12.3, 1,235.
func number(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case math.Abs(x) >= 99.95:
		return count(int64(math.Round(x)))
	case x == 0:
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(x)))))
	text := strconv.FormatFloat(x, 'f', min(decimals, 6), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return strings.Replace(text, "-", "−", 1)
}

// duration writes d as "182 µs", "1.23 ms", "12.3 s", "4 min 10 s".
func duration(d time.Duration) string {
	x := float64(d)
	switch abs := math.Abs(x); {
	case abs == 0:
		return "0 s"
	case abs < 999.5:
		return number(x) + " ns"
	case abs < 999.5e3:
		return number(x/1e3) + " µs"
	case abs < 999.5e6:
		return number(x/1e6) + " ms"
	case abs < 119.5e9:
		return number(x/1e9) + " s"
	case abs < 119.5*60e9:
		d = d.Round(time.Second)
		return number(math.Trunc(d.Minutes())) + " min " + number(math.Mod(d.Seconds(), 60)) + " s"
	}
	d = d.Round(time.Minute)
	return number(math.Trunc(d.Hours())) + " h " + number(math.Mod(d.Minutes(), 60)) + " min"
}

// text writes d, the quantile q, as far as so many durations can tell: "–" where
// no recorded one lies beyond it.
func (h Quantiles) text(d time.Duration, q float64) string {
	if h.Count == 0 || q < 1 && float64(h.Count)*(1-q) < 0.999 {
		return "–"
	}
	return duration(d)
}

// perSecond writes a rate as "498/s".
func perSecond(x float64) string { return number(x) + "/s" }

// share writes 0.1234 as "12.3%", and never rounds a few to none or most to all.
func share(x float64) string {
	percent := 100 * x
	switch {
	case math.IsNaN(x):
		return "–"
	case percent > 0 && percent < 0.01:
		return "<0.01%"
	case percent < 100 && percent > 99.99:
		return ">99.99%"
	case percent > 99 && percent < 100:
		return strconv.FormatFloat(percent, 'f', 2, 64) + "%"
	}
	return number(percent) + "%"
}

// plural writes "1 key" or "1,000 keys".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// sentence is what a verdict says, without the verdict's own word before it,
// which stands beside it already.
func sentence(verdict, text string) string {
	text = strings.TrimPrefix(text, verdict+": ")
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
