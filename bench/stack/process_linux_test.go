package stack

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// helperDir in the environment turns the test binary into a weir that starts a
// stack there, prints the Redis' URL and waits to be killed.
const helperDir = "STACK_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		os.Exit(helper(dir)) //nolint:forbidigo // this is a main of its own
	}
	m.Run()
}

func helper(dir string) int {
	r, err := startPrivate(context.Background(), os.Getenv("REDIS_SERVER"), "redis-server", dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, r.url)
	if os.Getenv("STACK_TEST_HELPER_PANIC") != "" {
		go panic("a goroutine that nobody recovers")
	}
	select {}
}

// However weir ends, what it started ends too.
func TestNothingOutlivesWeir(t *testing.T) {
	server := needRedis(t)
	for _, test := range []struct {
		name, env string
		end       func(*os.Process) error
	}{
		{"killed", "", (*os.Process).Kill},
		{"second Ctrl-C", "", func(p *os.Process) error { return p.Signal(os.Interrupt) }},
		{"panic", "STACK_TEST_HELPER_PANIC=1", func(*os.Process) error { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperDir+"="+t.TempDir(), "REDIS_SERVER="+server, test.env)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			url, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatalf("the helper printed no URL: %v", err)
			}
			if err := test.end(cmd.Process); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the helper ended by itself")
			}
			url = strings.TrimSpace(url)
			for deadline := time.Now().Add(10 * time.Second); answers(url); time.Sleep(pollEvery) {
				if time.Now().After(deadline) {
					t.Fatalf("%s still answers 10 s after weir ended", url)
				}
			}
		})
	}
}
