package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"weir/api/limit"
	"weir/bench/stack"
)

// A contestant is one limiter and how it is started.
type contestant struct {
	name    string
	state   string // "Redis" or "memory"
	windows bool   // it promises fixed windows, no bucket
	promise string // in its own words; see says for what stands in braces
	version func(l *league) (string, error)
	// Why it admitted too much or did not answer, from its source; said only when it did.
	whyExcess, whyFailed string
	start                func(ctx context.Context, l *league, c *contestant, promise limit.Limit, name string) (*server, error)
}

// A server is a limiter that listens.
type server struct {
	url  string
	stop func()
}

var contestants = []contestant{
	{name: "weir", state: "Redis", promise: "TB_RATE={rate} TB_CAPACITY={capacity}", version: ourVersion, start: startWeir},
	{name: "nginx", state: "memory", promise: "limit_req rate={rate} burst={capacity-1} nodelay", version: nginxVersion, start: startNginx},
	{name: "redis_rate", state: "Redis", promise: "Limit{Rate: {rate}, Burst: {capacity}}", version: module("github.com/go-redis/redis_rate/v10"), start: startGo},
	{
		name: "throttled", state: "Redis", promise: "RateQuota{{rate}, MaxBurst: {capacity-1}}", version: module("github.com/throttled/throttled/v2"), start: startGo,
		whyExcess: "keys expire after the time to a full bucket rounded down to whole seconds, so an idle bucket is full too early",
		whyFailed: "it compares and swaps, and after 10 attempts in vain answers with an error (500)",
	},
	{name: "ulule", state: "Redis", windows: true, promise: "Rate{Limit: {capacity}, Period: {window}}", version: module("github.com/ulule/limiter/v3"), start: startGo},
	{name: "go-limiter", state: "memory", windows: true, promise: "Config{Tokens: {capacity}, Interval: {window}}", version: module("github.com/sethvargo/go-limiter"), start: startGo},
	{name: "x-time-rate", state: "memory", promise: "NewLimiter({rate}, {capacity})", version: module("golang.org/x/time"), start: startGo},
	{name: "rate-limiter-flexible", state: "Redis", windows: true, promise: "{points: {capacity}, duration: {window}}", version: npmVersion("rate-limiter-flexible"), start: startNode},
	{name: "express-rate-limit", state: "memory", windows: true, promise: "{limit: {capacity}, windowMs: {window}}", version: npmVersion("express-rate-limit"), start: startNode},
}

// says is the promise of a contestant for a limit.
func (c *contestant) says(l limit.Limit) string {
	return strings.NewReplacer(
		"{rate}", l.Rate.String(), "{capacity}", strconv.FormatInt(l.Capacity, 10),
		"{capacity-1}", strconv.FormatInt(l.Capacity-1, 10), "{window}", window(l).String(),
	).Replace(c.promise)
}

// window is the period in which a fixed window of capacity has the limit's rate.
func window(l limit.Limit) time.Duration {
	return time.Duration(float64(l.Capacity) / l.Rate.PerSecond() * float64(time.Second))
}

// errMissing is for a contestant whose program is not installed.
var errMissing = errors.New("not installed")

func ourVersion(*league) (string, error) { return "this tree", nil }

// startWeir starts weir's own API.
func startWeir(ctx context.Context, l *league, _ *contestant, promise limit.Limit, name string) (*server, error) {
	api, err := l.stack.StartAPI(ctx, name, map[string]string{
		"TB_RATE": promise.Rate.String(), "TB_CAPACITY": strconv.FormatInt(promise.Capacity, 10), "KEY_BY": "header:" + keyHeader,
	})
	if err != nil {
		return nil, err
	}
	return &server{url: api.URL + "/items", stop: api.Stop}, nil
}

// module tells the version of a Go module that this program is built with.
func module(path string) func(*league) (string, error) {
	return func(*league) (string, error) {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			return "", errors.New("this program does not know what it is built with")
		}
		for _, dep := range info.Deps {
			if dep.Path == path {
				return dep.Version, nil
			}
		}
		return "", fmt.Errorf("this program is not built with %s", path)
	}
}

// startGo starts this program as the server of a Go library: see serve.go.
func startGo(ctx context.Context, l *league, c *contestant, promise limit.Limit, name string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	//nolint:noctx // stop ends it; requests in flight may finish
	return l.startListening(ctx, exec.Command(self, "serve", c.name, promise.String(), l.stack.RedisURL()), name)
}

// startNode starts node/server.js.
func startNode(ctx context.Context, l *league, c *contestant, promise limit.Limit, name string) (*server, error) {
	//nolint:noctx // as above
	cmd := exec.Command("node", absolute(filepath.Join(l.node, "server.js")), c.name, strconv.FormatInt(promise.Rate.Tokens, 10),
		strconv.FormatInt(promise.Rate.Seconds, 10), strconv.FormatInt(promise.Capacity, 10), l.stack.RedisURL())
	return l.startListening(ctx, cmd, name)
}

func npmVersion(name string) func(*league) (string, error) {
	return func(l *league) (string, error) {
		if _, err := exec.LookPath("node"); err != nil {
			return "", fmt.Errorf("node is %w", errMissing)
		}
		text, err := os.ReadFile(filepath.Join(l.node, "node_modules", name, "package.json"))
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("the npm package is %w (run npm ci in bench/peers/node)", errMissing)
		} else if err != nil {
			return "", fmt.Errorf("read version: %w", err)
		}
		var pkg struct{ Version string }
		if err := json.Unmarshal(text, &pkg); err != nil {
			return "", fmt.Errorf("read version of %s: %w", name, err)
		}
		return pkg.Version, nil
	}
}

func nginxVersion(*league) (string, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return "", fmt.Errorf("nginx is %w", errMissing)
	}
	out, err := exec.CommandContext(context.Background(), program, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nginx -v: %w", err)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx/")
	return version, nil
}

// nginxConfig limits in one process, so that stopping it stops all of it.
// Throttled is 503 to nginx where it is not told otherwise. Its rates are whole
// numbers a second or a minute.
const nginxConfig = `daemon off;
master_process off;
worker_rlimit_nofile 8192;
error_log stderr crit;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  limit_req_zone $http_x_api_key zone=keys:1m rate=%dr/m;
  limit_req_status 429;
  server {
    listen %s;
    location / { limit_req zone=keys burst=%d nodelay; empty_gif; }
  }
}
`

func startNginx(ctx context.Context, l *league, _ *contestant, promise limit.Limit, name string) (*server, error) {
	perMinute := promise.Rate.Tokens * 60 / promise.Rate.Seconds
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	address := listener.Addr().String()
	_ = listener.Close() // nginx takes it
	dir := filepath.Join(l.logs, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, perMinute, address, promise.Capacity-1), 0o644); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	//nolint:noctx // stop ends it
	process, err := stack.StartLogged(exec.Command("nginx", "-p", dir, "-c", config, "-e", "stderr"), dir, "nginx")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + address + "/", stop: process.Stop}
	return s, ready(ctx, process, func() string { return s.url })
}

// startListening starts a server whose log says "listening ADDRESS".
func (l *league) startListening(ctx context.Context, cmd *exec.Cmd, name string) (*server, error) {
	process, err := stack.StartLogged(cmd, l.logs, name)
	if err != nil {
		return nil, err
	}
	s := &server{stop: process.Stop}
	return s, ready(ctx, process, func() string {
		text, err := os.ReadFile(process.Log())
		if found := listening.FindSubmatch(text); err == nil && found != nil {
			s.url = "http://" + string(found[1]) + "/"
		}
		return s.url
	})
}

var listening = regexp.MustCompile(`(?m)^listening (\S+)$`)

// ready waits until something answers at url, which is "" until it is known. It
// stops the process when that fails.
func ready(ctx context.Context, process *stack.Process, url func() string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		if at := url(); at != "" {
			if _, _, err := ask(ctx, at, "ready"); err == nil {
				return nil
			}
		}
		select {
		case <-process.Done():
			text, _ := os.ReadFile(process.Log()) // without it the error says less
			return fmt.Errorf("it ended at once: %s", strings.TrimSpace(string(text)))
		case <-ctx.Done():
			process.Stop()
			return fmt.Errorf("it does not answer: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// keyHeader tells every limiter whose bucket a request takes from.
const keyHeader = "X-API-Key"

// ask sends one request outside of any trial, with a key of its own, and returns
// the answer's status and Retry-After, word for word.
func ask(ctx context.Context, url, key string) (status int, retryAfter string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", fmt.Errorf("ask %s: %w", url, err)
	}
	request.Header.Set(keyHeader, key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("ask: %w", err)
	}
	return response.StatusCode, response.Header.Get("Retry-After"), response.Body.Close()
}

// absolute is path from the root, because servers work in another folder.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}
