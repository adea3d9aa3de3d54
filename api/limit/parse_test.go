package limit_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"weir/api/limit"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		want limit.Limit
		out  string // how String writes it
	}{
		{"5/s,capacity=20", limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}, "5/s,capacity=20"},
		{"100/m", limit.Limit{Capacity: 100, Rate: limit.Rate{Tokens: 5, Seconds: 3}}, "100/m,capacity=100"},
		{"60/m", limit.Limit{Capacity: 60, Rate: limit.Rate{Tokens: 1, Seconds: 1}}, "1/s,capacity=60"},
		{"0.5/s", limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: 1, Seconds: 2}}, "0.5/s,capacity=1"},
		{"2.5/s", limit.Limit{Capacity: 3, Rate: limit.Rate{Tokens: 5, Seconds: 2}}, "2.5/s,capacity=3"},
		{"1000/h", limit.Limit{Capacity: 1000, Rate: limit.Rate{Tokens: 5, Seconds: 18}}, "1000/h,capacity=1000"},
		{"0/s,capacity=3", limit.Limit{Capacity: 3, Rate: limit.Rate{Tokens: 0, Seconds: 1}}, "0/s,capacity=3"},
		{" 5 / s , capacity = 20 ", limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}, "5/s,capacity=20"},
	} {
		got, err := limit.Parse(test.text)
		if err != nil || got != test.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", test.text, got, err, test.want)
		}
		if got.String() != test.out {
			t.Errorf("Parse(%q).String() = %q, want %q", test.text, got, test.out)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "no unit"},
		{"5", "no unit"},
		{"5/d", `unknown unit "d" (want s, m or h)`},
		{"/s", `"" is not a number`},
		{"five/s", `"five" is not a number`},
		{"1e3/s", `"1e3" is not a number`},
		{"1/2/s", "unknown unit"},
		{"NaN/s", "not a number"},
		{"-5/s", "negative"},
		{"5/s,capacity=0", "at least 1 token"},
		{"5/s,capacity=-1", "at least 1 token"},
		{"0/s", "at least 1 token"},
		{"5/s,capacity=1.5", "not a whole number"},
		{"5/s,capacity=", "not a whole number"},
		{"5/s,burst=3", `unknown field "burst" (want capacity=N)`},
		{"5/s,capacity=2,capacity=3", "capacity is given twice"},
		{"5/s,", "unknown field"},
		{"5/s,capacity=9007199255", "want capacity at most 9007199254"},
		{"5000000000000000/s,capacity=1", "too large"},
		{"0.0000000001/s,capacity=1", "too fine"},
		{"99999999999999999999/s", "too large"},
		{strings.Repeat("9", 1000) + "/s", "not a number"},
	} {
		l, err := limit.Parse(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Parse(%.40q) = %v, %v, want an error with %q", test.text, l, err, test.want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]limit.Rate{
		"5":      {Tokens: 5, Seconds: 1},
		"0.5":    {Tokens: 1, Seconds: 2},
		"10/m":   {Tokens: 1, Seconds: 6},
		"3600/h": {Tokens: 1, Seconds: 1},
		"0":      {Tokens: 0, Seconds: 1},
	} {
		if got, err := limit.ParseRate(text); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	if got := (limit.Rate{Tokens: 1, Seconds: 6}).PerSecond(); math.Abs(got-1.0/6) > 1e-15 {
		t.Errorf("PerSecond of 10/m = %g", got)
	}
}

func TestValidateAtTheEdge(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit limit.Limit
		valid bool
	}{
		{"the largest capacity", limit.Limit{Capacity: 9_007_199_254, Rate: limit.Rate{Tokens: 740_991, Seconds: 1}}, true},
		{"one token a second more", limit.Limit{Capacity: 9_007_199_254, Rate: limit.Rate{Tokens: 740_992, Seconds: 1}}, false},
		{"no seconds", limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: 1}}, false},
		{"negative seconds", limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: 1, Seconds: -1}}, false},
		{"negative tokens", limit.Limit{Capacity: 1, Rate: limit.Rate{Tokens: -1, Seconds: 1}}, false},
		{"largest everything", limit.Limit{Capacity: math.MaxInt64, Rate: limit.Rate{Tokens: math.MaxInt64, Seconds: math.MaxInt64}}, false},
		{"a huge capacity", limit.Limit{Capacity: math.MaxInt64, Rate: limit.Rate{Tokens: 1, Seconds: 1}}, false},
		{"the zero limit", limit.Limit{}, false},
	} {
		if err := test.limit.Validate(); (err == nil) != test.valid {
			t.Errorf("%s: Validate(%+v) = %v, want valid %t", test.name, test.limit, err, test.valid)
		}
	}
}

func TestLimitInJSON(t *testing.T) {
	l := mustParse(t, "10/m,capacity=3")
	text, err := json.Marshal(l)
	if err != nil || string(text) != `"10/m,capacity=3"` {
		t.Fatalf("Marshal = %s, %v", text, err)
	}
	var back limit.Limit
	if err := json.Unmarshal(text, &back); err != nil || back != l {
		t.Fatalf("Unmarshal(%s) = %+v, %v", text, back, err)
	}
	if err := json.Unmarshal([]byte(`"5"`), &back); err == nil {
		t.Error("Unmarshal of a limit without unit succeeded")
	}
}

// Whatever Parse accepts is valid, exact, and comes back the same from its own text.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"5/s,capacity=20", "100/m", "0.5/s", "10/m,capacity=3", "1000/h", "0/s,capacity=1", "2.5/s",
		"0.000003814697265625/h,capacity=1", "4503599627370494.5/s,capacity=1", " 5 / s , capacity = 20 ",
		"1e9/s", "-0/s,capacity=1", ".5/s", "5./s", "5/s,capacity=9007199254", "5/s,,", "\xff/s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := limit.Parse(text)
		if err != nil {
			if l != (limit.Limit{}) {
				t.Fatalf("Parse(%q) = %+v with error %v", text, l, err)
			}
			return
		}
		if err := l.Validate(); err != nil {
			t.Fatalf("Parse(%q) accepted what Validate refuses: %v", text, err)
		}
		back, err := limit.Parse(l.String())
		if err != nil || back != l {
			t.Fatalf("Parse(%q) is %+v, written %q, read %+v, %v", text, l, l, back, err)
		}
	})
}
