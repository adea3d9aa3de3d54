package stack

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// needRedis returns the path of a real server, or skips.
func needRedis(t *testing.T) string {
	t.Helper()
	for _, server := range servers {
		if path, err := exec.LookPath(server); err == nil {
			return path
		}
	}
	if os.Getenv("REQUIRE_REDIS") == "1" {
		t.Fatal("REQUIRE_REDIS=1, but neither redis-server nor valkey-server is in PATH")
	}
	t.Skip("needs redis-server or valkey-server in PATH")
	return ""
}

// answers reports whether something listens on a redis:// URL of the stack.
func answers(url string) bool {
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0"))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func TestPrivateRedis(t *testing.T) {
	needRedis(t)
	t.Setenv("REDIS_URL", "")
	dir := t.TempDir()
	r, err := startRedis(t.Context(), Config{LogDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	if r.store.Kind != "redis-server" && r.store.Kind != "valkey-server" || r.store.Version == "" || r.store.Version == "unknown" {
		t.Errorf("store = %+v, want a private server and its version", r.store)
	}
	if len(r.notes) != 0 {
		t.Errorf("notes = %q, want none: nothing is unusual about a real Redis", r.notes)
	}
	set(t, r.url)
	r.stop()
	if answers(r.url) {
		t.Errorf("%s still answers after stop", r.url)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 || filepath.Base(files[0]) != r.store.Kind+".log" {
		t.Errorf("files = %q (%v), want the log alone: a private Redis leaves nothing on disk", files, err)
	}
}

func TestEmbeddedRedis(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	t.Setenv("PATH", t.TempDir())
	r, err := startRedis(t.Context(), Config{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	if r.store.Kind != embedded || len(r.notes) != 1 || !strings.HasPrefix(r.notes[0], "Redis: embedded miniredis") {
		t.Errorf("store = %+v, notes = %q, want embedded miniredis, said in the notes", r.store, r.notes)
	}
	set(t, r.url)
}

func set(t *testing.T, url string) {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Errorf("SET on %s: %v", url, err)
	}
}

func TestGivenRedisIsUsed(t *testing.T) {
	needRedis(t)
	t.Setenv("REDIS_URL", "")
	own, err := startRedis(t.Context(), Config{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.stop)
	t.Setenv("REDIS_URL", own.url)
	given, err := startRedis(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if given.store.Kind != "REDIS_URL" || given.store.Version != own.store.Version || given.url != own.url {
		t.Errorf("store = %+v at %s, want REDIS_URL %s at %s", given.store, given.url, own.store.Version, own.url)
	}
	given.stop()
	if !answers(own.url) {
		t.Error("a Redis that weir did not start was stopped")
	}
}

// Each refusal is one line that names the Redis and the way out, never the password.
func TestRefusals(t *testing.T) {
	locked := lockedRedis(t)
	nobody, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, url, want string }{
		{"nobody listens", "redis://:hunter2@" + nobody + "/0", "no Redis answers at redis://:xxxxx@" + nobody},
		{"no password", "redis://" + locked + "/0", "needs a password: give it in REDIS_URL=redis://:password@" + locked},
		{"wrong password", "redis://:hunter2@" + locked + "/0", "redis://:xxxxx@" + locked + "/0 refuses the password"},
		{"loading", "redis://:hunter2@" + loadingRedis(t) + "/0", "is still loading its data"},
		{"other scheme", "http://:hunter2@" + nobody, "invalid URL scheme: http (want redis://"},
		{"no URL", "hunter2@%zz", "REDIS_URL is not the URL of a Redis (want redis://"},
		{"address alone", "localhost:6379", "REDIS_URL is not the URL of a Redis (want redis://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := startRedis(ctx, Config{RedisURL: test.url})
			if err == nil {
				t.Fatalf("startRedis(%s) succeeded", test.url)
			}
			if text := err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
				t.Errorf("startRedis(%s) = %q, want one line with %q and no password", test.url, text, test.want)
			}
		})
	}
}

// lockedRedis is the address of a real server that needs a password.
func lockedRedis(t *testing.T) string {
	t.Helper()
	path := needRedis(t)
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	process, err := StartLogged(exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--requirepass", "secret"),
		t.TempDir(), "locked")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	if err := process.waitReady(t.Context(), func(ctx context.Context) error {
		_, err := redisVersion(ctx, "redis://:secret@"+address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return address
}

// loadingRedis is the address of a server that answers every command with
// LOADING, as a Redis with a large file does for minutes.
func loadingRedis(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "*") { // the head of one command
						if _, err := conn.Write([]byte("-LOADING Redis is loading the dataset in memory\r\n")); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestPortTaken(t *testing.T) {
	path := needRedis(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	process, err := StartLogged(exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", ""), t.TempDir(), "taken")
	if err != nil {
		t.Fatal(err)
	}
	err = process.waitReady(t.Context(), func(context.Context) error { return errors.New("not ready") })
	if !errors.Is(err, errPortTaken) {
		t.Errorf("waitReady = %v, want that the port is taken, so that another is tried", err)
	}
}
