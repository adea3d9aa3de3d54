package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"weir/bench/stack"
)

// bootWithin bounds how long a Redis may take to answer, or a cluster to agree.
const bootWithin = 20 * time.Second

// poll is how often a condition is looked at.
const poll = 2 * time.Millisecond

// A redisServer is a real redis-server on a port of its own that can be killed,
// stopped and started again.
type redisServer struct {
	addr        string // "127.0.0.1:40123"
	dir         string // its files and logs
	name        string
	arguments   []string
	environment []string
	starts      int
	process     *stack.Process
	admin       *redis.Client
}

// startRedis starts a server with nothing on disk unless the arguments say so.
func startRedis(ctx context.Context, dir, name string, environment []string, arguments ...string) (*redisServer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: addr, dir: dir, name: name, environment: environment}
	_, port, _ := net.SplitHostPort(addr) // it has just been joined
	r.arguments = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", dir, "--dbfilename", name + ".rdb", "--appenddirname", name + ".aof",
	}, arguments...)
	r.admin = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: 10 * time.Second})
	return r, r.start(ctx)
}

// start starts the server, for the first time or again, and returns when it answers.
func (r *redisServer) start(ctx context.Context, more ...string) error {
	if err := r.launch(more...); err != nil {
		return err
	}
	return r.await(ctx, "answer", func() bool { return r.admin.Ping(ctx).Err() == nil })
}

// launch starts the server and does not wait for it.
func (r *redisServer) launch(more ...string) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if path, err = exec.LookPath("valkey-server"); err != nil {
			return cannot("neither redis-server nor valkey-server is in PATH")
		}
	}
	r.starts++
	cmd := exec.Command(path, append(r.arguments, more...)...) //nolint:noctx // kill ends it
	cmd.Env = append(os.Environ(), r.environment...)
	r.process, err = stack.StartLogged(cmd, r.dir, r.name+"-"+strconv.Itoa(r.starts))
	return err //nolint:wrapcheck // it says what was started
}

// await waits for a condition, as long as the server lives.
func (r *redisServer) await(ctx context.Context, what string, ok func() bool) error {
	err := await(ctx, r.name+" to "+what, func() bool { return r.ended() || ok() })
	if err == nil && r.ended() {
		return fmt.Errorf("%s ended by itself; its log is %s", r.name, r.process.Log())
	}
	return err
}

func (r *redisServer) ended() bool {
	select {
	case <-r.process.Done():
		return true
	default:
		return false
	}
}

// await waits for a condition, bootWithin at most.
func await(ctx context.Context, what string, ok func() bool) error {
	deadline := time.Now().Add(bootWithin)
	for !ok() {
		switch {
		case ctx.Err() != nil:
			return ctx.Err() //nolint:wrapcheck // interrupted: the caller knows the word
		case time.Now().After(deadline):
			return fmt.Errorf("waited %s for %s in vain", bootWithin, what)
		}
		time.Sleep(poll)
	}
	return nil
}

// kill is kill −9; it returns when the process has ended.
func (r *redisServer) kill() {
	if r.process != nil {
		r.process.Signal(syscall.SIGKILL)
		_ = r.process.Wait() // killed, as asked
	}
}

// halt stops the process where it stands; cont lets it go on.
func (r *redisServer) halt() { r.process.Signal(syscall.SIGSTOP) }

func (r *redisServer) cont() {
	if r.process != nil {
		r.process.Signal(syscall.SIGCONT)
	}
}

func (r *redisServer) url() string { return "redis://" + r.addr + "/0" }

// do sends one command.
func (r *redisServer) do(ctx context.Context, words ...any) error {
	if err := r.admin.Do(ctx, words...).Err(); err != nil {
		return fmt.Errorf("%v: %w", words, err)
	}
	return nil
}

// info is one number of INFO, −1 when it is not there.
func (r *redisServer) info(ctx context.Context, name string) int64 {
	text, err := r.admin.Info(ctx, "everything").Result()
	if err != nil {
		return -1
	}
	for line := range strings.Lines(text) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key == name {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress() (string, error) {
	// A port from below the range that connections get theirs from, since nobody
	// may take it while the server is down.
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
		if err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		_ = listener.Close() // nobody has connected
		n, _ := strconv.Atoi(port)
		low := "127.0.0.1:" + strconv.Itoa(10_000+n%20_000)
		if listener, err = net.Listen("tcp", low); err == nil { //nolint:noctx // loopback: returns at once
			_ = listener.Close() // nobody has connected
			return low, nil
		}
	}
	return "", errors.New("no free port from 10000 to 29999")
}

// clockEnvironment has a process load a clock that can be stepped.
func (s *Scene) clockEnvironment() ([]string, error) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, cannot("there is no C compiler to build the stepped clock with")
	}
	source, library := filepath.Join(s.dir, "clock.c"), filepath.Join(s.dir, "clock.so")
	if err := os.WriteFile(source, []byte(steppedClock), 0o600); err != nil {
		return nil, fmt.Errorf("write the stepped clock: %w", err)
	}
	if err := s.step(0); err != nil {
		return nil, err
	}
	build := exec.CommandContext(s.ctx, compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, cannot("the stepped clock does not compile: %s", text)
	}
	return []string{"LD_PRELOAD=" + library, "WEIR_CLOCK=" + filepath.Join(s.dir, "clock.step")}, nil
}

// step sets by how much the Redis' wall clock differs from ours.
func (s *Scene) step(by time.Duration) error {
	temporary := filepath.Join(s.dir, "clock.next")
	if err := os.WriteFile(temporary, fmt.Appendln(nil, by.Microseconds()), 0o600); err != nil {
		return fmt.Errorf("step the clock: %w", err)
	}
	return os.Rename(temporary, filepath.Join(s.dir, "clock.step")) //nolint:wrapcheck // it names the file
}

// steppedClock stands before the C library's clock: the wall clock, and it alone, is
// off by the microseconds in the file $WEIR_CLOCK, read anew every millisecond.
const steppedClock = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

static long long offset(void) {
  static long long at, off;
  struct timespec now;
  real(CLOCK_MONOTONIC, &now);
  long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
  if (ms != at) {
    FILE *f = fopen(getenv("WEIR_CLOCK"), "r");
    at = ms;
    if (f) {
      if (fscanf(f, "%lld", &off) != 1) off = 0;
      fclose(f);
    }
  }
  return off;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, ts);
  if (r == 0 && id == CLOCK_REALTIME) {
    long long us = ts->tv_sec * 1000000LL + ts->tv_nsec / 1000 + offset();
    ts->tv_sec = us / 1000000;
    ts->tv_nsec = us % 1000000 * 1000;
  }
  return r;
}

int gettimeofday(struct timeval *tv, void *zone) {
  struct timespec ts;
  int r = clock_gettime(CLOCK_REALTIME, &ts);
  tv->tv_sec = ts.tv_sec;
  tv->tv_usec = ts.tv_nsec / 1000;
  return r;
}
`
