package limittest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weir/api/limit"
	"weir/api/limit/limittest"
)

// underContract names the fault that TestFaultyContract is about; without it
// that test is left out, since it is there to fail.
const underContract = "FAULT_UNDER_CONTRACT"

func TestFaultyContract(t *testing.T) {
	name := os.Getenv(underContract)
	for _, fault := range limittest.Faults {
		if fault.Name == name {
			limittest.Run(t, fault.New)
			return
		}
	}
	t.Skip("fails on purpose: TestContractFindsFaults runs it")
}

// The contract has teeth: no known fault passes it.
func TestContractFindsFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range limittest.Faults {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			cases := ""
			if fault.Name == "lost-update" {
				cases = "/^many_callers" // each of its admissions takes a while, and only this case is about races
			}
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "-test.v", "-test.run=^TestFaultyContract$"+cases)
			cmd.Env = append(os.Environ(), underContract+"="+fault.Name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestFaultyContract/") {
				t.Fatalf("the contract did not find the fault: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if failed, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: TestFaultyContract/"); ok {
					t.Log("found by: ", failed)
				}
			}
		})
	}
}

// Every fault says what a reader needs, and keeps quiet about its fault where
// nothing provokes it: the first take of a key is right.
func TestFaults(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, fault := range limittest.Faults {
		if fault.Name == "" || names[fault.Name] || fault.What == "" || fault.Where == "" || fault.Check == "" || fault.Clock == "" {
			t.Errorf("fault %q is not told in full, or twice", fault.Name)
		}
		names[fault.Name] = true
		l, err := limit.Parse(fault.Limit)
		if err != nil {
			t.Fatal(err)
		}
		limiter := fault.New(t, l, nil)
		if d, err := limiter.Take(context.Background(), "alice", 1); err != nil || !d.Allowed || limiter.Limit() != l {
			t.Errorf("%s: the first take of a key is %+v, %v, want admitted", fault.Name, d, err)
		}
	}
}
