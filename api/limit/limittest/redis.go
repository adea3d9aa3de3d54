package limittest

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis starts a private redis-server (or valkey-server) from PATH on a unix
// socket, with nothing on disk, stops it when the test ends, and returns its
// URL. Without either in PATH the test is skipped, or failed where the
// environment has REQUIRE_REDIS=1.
func Redis(tb testing.TB) (url string) {
	tb.Helper()
	return "unix://" + startRedis(tb) + "?db=0" + patient
}

// patient are settings of a client that waits longer than any busy machine
// takes: a correctness test must not fail for being slow.
const patient = "&dial_timeout=30s&read_timeout=30s&write_timeout=30s&pool_timeout=30s"

// TryRedis is [Redis] for a test that has something to show without: where no
// Redis is in PATH it reports so instead of skipping.
func TryRedis(tb testing.TB) (url string, there bool) {
	tb.Helper()
	if findRedis() == "" && os.Getenv("REQUIRE_REDIS") != "1" {
		return "", false
	}
	return Redis(tb), true
}

func startRedis(tb testing.TB) (socket string) {
	tb.Helper()
	program := mustFindRedis(tb)
	dir, err := os.MkdirTemp("", "weir") //nolint:usetesting // tb.TempDir may be too long for a socket's path
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "redis.sock")
	server := exec.CommandContext(context.Background(), program, "--port", "0", "--unixsocket", socket,
		"--save", "", "--appendonly", "no", "--dir", dir, "--logfile", filepath.Join(dir, "log"))
	if err := server.Start(); err != nil {
		tb.Fatalf("start %s: %v", program, err)
	}
	tb.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	deadline := time.Now().Add(10 * time.Second)
	for !answersPing(socket) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			tb.Fatalf("%s does not answer after 10 s: %s", program, log)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return socket
}

// mustFindRedis skips or fails the test where there is no server.
func mustFindRedis(tb testing.TB) (program string) {
	tb.Helper()
	if program = findRedis(); program == "" {
		if os.Getenv("REQUIRE_REDIS") == "1" {
			tb.Fatal("REQUIRE_REDIS=1, but neither redis-server nor valkey-server is in PATH (install redis-server)")
		}
		tb.Skip("neither redis-server nor valkey-server is in PATH: left out what needs a real Redis")
	}
	return program
}

func findRedis() (program string) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	return ""
}

func answersPing(socket string) bool {
	c, err := new(net.Dialer).DialContext(context.Background(), "unix", socket)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer, _ := bufio.NewReader(c).ReadString('\n')
	return strings.HasPrefix(answer, "+PONG")
}
