package limit

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// A Rate is an exact rational: Tokens every Seconds, in lowest terms, so that
// 10 a minute is {1, 6} and not 0.1666….
type Rate struct {
	Tokens  int64 // 0 never refills
	Seconds int64 // at least 1
}

// unitSeconds are the units a rate is written in, smallest first.
var unitSeconds = []struct {
	name    string
	seconds int64
}{{"s", 1}, {"m", 60}, {"h", 3600}}

// PerSecond returns the rate as a float, for display and for plots.
func (r Rate) PerSecond() float64 { return float64(r.Tokens) / float64(r.Seconds) }

func (r Rate) validate() error {
	switch {
	case r.Tokens < 0:
		return fmt.Errorf("rate %d/%ds: want 0 or more", r.Tokens, r.Seconds)
	case r.Seconds < 1:
		return fmt.Errorf("rate %d/%ds: want at least 1 second", r.Tokens, r.Seconds)
	case r.Tokens >= maxExact/2 || r.Seconds > maxExact/MicroToken/2:
		return fmt.Errorf("rate %d/%ds: too large or too fine to be exact", r.Tokens, r.Seconds)
	}
	return nil
}

// String writes the rate in the smallest unit that needs no rounding: "5/s",
// "0.5/s", "10/m".
func (r Rate) String() string {
	if r.Seconds < 1 {
		return fmt.Sprintf("%d/%ds", r.Tokens, r.Seconds)
	}
	for _, unit := range unitSeconds {
		number := big.NewRat(r.Tokens, r.Seconds)
		number.Mul(number, big.NewRat(unit.seconds, 1))
		if digits, exact := number.FloatPrec(); exact {
			return number.FloatString(digits) + "/" + unit.name
		}
	}
	return fmt.Sprintf("%d/%ds", r.Tokens, r.Seconds)
}

// ParseRate reads "5/s", "0.5/s", "10/m", "1000/h", or a bare number of tokens
// per second.
func ParseRate(text string) (Rate, error) {
	number, unit, found := strings.Cut(strings.TrimSpace(text), "/")
	if !found {
		unit = "s"
	}
	seconds := int64(0)
	for _, u := range unitSeconds {
		if u.name == strings.TrimSpace(unit) {
			seconds = u.seconds
		}
	}
	if seconds == 0 {
		return Rate{}, fmt.Errorf("parse rate %q: unknown unit %q (want s, m or h)", text, unit)
	}
	tokens, err := parseDecimal(strings.TrimSpace(number))
	if err != nil {
		return Rate{}, fmt.Errorf("parse rate %q: %w (want a number of tokens a unit, e.g. 5/s, 0.5/s, 10/m)", text, err)
	}
	tokens.Quo(tokens, big.NewRat(seconds, 1))
	if !tokens.Num().IsInt64() || !tokens.Denom().IsInt64() {
		return Rate{}, fmt.Errorf("parse rate %q: too large or too fine to be exact", text)
	}
	r := Rate{Tokens: tokens.Num().Int64(), Seconds: tokens.Denom().Int64()}
	if err := r.validate(); err != nil {
		return Rate{}, fmt.Errorf("parse rate %q: %w", text, err)
	}
	return r, nil
}

// parseDecimal reads a plain decimal of at most 64 characters, more than any
// exact rate needs: no sign but minus, no exponent, no fraction bar.
func parseDecimal(text string) (*big.Rat, error) {
	if text == "" || len(text) > 64 || strings.Trim(strings.TrimPrefix(text, "-"), "0123456789.") != "" {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	number, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	if number.Sign() < 0 {
		return nil, fmt.Errorf("%q is negative", text)
	}
	return number, nil
}

// Parse reads a limit as it is written everywhere in weir:
// RATE/UNIT[,capacity=N], for example "5/s,capacity=20" or "100/m". Units are
// s, m and h; the capacity defaults to the number before the slash, rounded up.
func Parse(text string) (Limit, error) {
	parts := strings.Split(text, ",")
	if !strings.Contains(parts[0], "/") {
		return Limit{}, fmt.Errorf("parse limit %q: no unit (want RATE/UNIT[,capacity=N], e.g. 5/s,capacity=20 or 100/m)", text)
	}
	rate, err := ParseRate(parts[0])
	if err != nil {
		return Limit{}, fmt.Errorf("parse limit %q: %w", text, err)
	}
	l := Limit{Rate: rate}
	number, _, _ := strings.Cut(strings.TrimSpace(parts[0]), "/")
	burst, _ := strconv.ParseFloat(strings.TrimSpace(number), 64) // ParseRate has read it
	l.Capacity = int64(math.Ceil(burst))
	for i, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		if strings.TrimSpace(name) != "capacity" {
			return Limit{}, fmt.Errorf("parse limit %q: unknown field %q (want capacity=N)", text, strings.TrimSpace(name))
		}
		if i > 0 {
			return Limit{}, fmt.Errorf("parse limit %q: capacity is given twice", text)
		}
		if l.Capacity, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
			return Limit{}, fmt.Errorf("parse limit %q: capacity %q is not a whole number of tokens", text, strings.TrimSpace(value))
		}
	}
	if err := l.Validate(); err != nil {
		return Limit{}, fmt.Errorf("parse limit %q: %w", text, err)
	}
	return l, nil
}
