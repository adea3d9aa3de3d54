package report

import (
	"testing"
	"time"
)

func TestNumbersForPeople(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999), "999"},
		{count(1234567), "1,234,567"},
		{count(-1234), "−1,234"},
		{number(4.98), "4.98"},
		{number(12.345), "12.3"},
		{number(123.4), "123"},
		{number(99.97), "100"},
		{number(12345.6), "12,346"},
		{number(0.01234), "0.0123"},
		{number(5), "5"},
		{number(-0.5), "−0.5"},
		{duration(0), "0 s"},
		{duration(850), "850 ns"},
		{duration(182_345), "182 µs"},
		{duration(999_700), "1 ms"},
		{duration(1_234_000), "1.23 ms"},
		{duration(12*time.Second + 340*time.Millisecond), "12.3 s"},
		{duration(250 * time.Second), "4 min 10 s"},
		{duration(3*time.Hour + 25*time.Minute), "3 h 25 min"},
		{duration(-3 * time.Microsecond), "−3 µs"},
		{share(0), "0%"},
		{share(1), "100%"},
		{share(0.5), "50%"},
		{share(0.00001), "<0.01%"},
		{share(0.99999999), ">99.99%"},
		{share(0.99876), "99.88%"},
		{perSecond(4.98), "4.98/s"},
		{plural(1, "key"), "1 key"},
		{plural(1000, "key"), "1,000 keys"},
		{fileName("GET http://h:80/a b"), "GET-http-h-80-a-b"},
		{fileName("../.."), "unnamed"},
		{fileName("many-keys"), "many-keys"},
		{sentence("holds", "holds: all is well"), "All is well."},
		{sentence("broken", ""), ""},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestQuantilesThatTooFewRequestsCannotTell(t *testing.T) {
	few, enough := Quantiles{Count: 99}, Quantiles{Count: 100}
	if got := few.text(time.Second, 0.99); got != "–" {
		t.Errorf("p99 of 99 requests = %q, want –", got)
	}
	if got := enough.text(time.Second, 0.99); got != "1 s" {
		t.Errorf("p99 of 100 requests = %q, want 1 s", got)
	}
	if got := few.text(time.Second, 1); got != "1 s" {
		t.Errorf("slowest of 99 requests = %q, want 1 s", got)
	}
}
