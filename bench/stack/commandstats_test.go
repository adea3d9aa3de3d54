package stack

import "testing"

func TestParseCommandStats(t *testing.T) {
	const info = "# Commandstats\r\ncmdstat_get:calls=7,usec=3,usec_per_call=0.43,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_evalsha:calls=200,usec=900,usec_per_call=4.50,rejected_calls=0,failed_calls=1\r\n"
	got, err := parseCommandStats(info, "evalsha")
	if want := (CommandStats{Calls: 200, Micros: 900}); err != nil || got != want {
		t.Errorf("parseCommandStats = %+v, %v, want %+v", got, err, want)
	}
	if since := got.Since(CommandStats{Calls: 100, Micros: 700}); since.PerCall() != 2 {
		t.Errorf("per call %g µs, want 2", since.PerCall())
	}
	if none, err := parseCommandStats(info, "eval"); err != nil || none != (CommandStats{}) || none.PerCall() != 0 {
		t.Errorf("a command never called: %+v, %v, want zeros", none, err)
	}
	if _, err := parseCommandStats("cmdstat_get:calls=many\r\n", "get"); err == nil {
		t.Error("calls=many is read as a number")
	}
}
