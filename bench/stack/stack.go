// Package stack starts and stops what a run needs: a Redis and the limited API,
// each as its own process on a free loopback port.
//
// A [Stack] has one Redis, found in this order:
//
//   - the one that REDIS_URL names;
//   - a private redis-server or valkey-server from PATH, nothing on disk;
//   - miniredis inside this process, and then [Stack.Notes] says so, because no
//     figure of speed holds for a real Redis.
//
// and any number of API processes that share it:
//
//	s, err := stack.Start(ctx, stack.Config{LogDir: dir})
//	if err != nil { … }
//	defer s.Close()
//	api, err := s.StartAPI(ctx, "overload", map[string]string{"TB_RATE": "100"})
//	if err != nil { … }
//	… attack api.URL + "/items" …
//	api.Stop()
//
// Nothing outlives weir. Close stops everything by process id; a weir that is
// killed or panics takes its children along, because on Linux each asks the
// kernel to be killed with its parent. Children are in process groups of their
// own, so that the Ctrl-C which asks weir to finish does not stop them first.
package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/bench/run"
)

// readyWithin bounds how long a started server may take to answer.
const readyWithin = 10 * time.Second

// Config says where things are. The zero value works but for LogDir.
type Config struct {
	// LogDir gets one log for each process. It must exist.
	LogDir string
	// RedisURL is the Redis to use; empty means REDIS_URL, and when that is empty
	// too one is started.
	RedisURL string
	// APIBinary is the limited API; empty means the one beside this program, or
	// one built from the source around the working directory.
	APIBinary string
}

// A Stack is what a run needs, running. It is used by one goroutine.
type Stack struct {
	config Config
	redis  *redisStore
	apis   []*API
	built  string // folder of the binary that was built, removed by Close
}

// Start finds or starts a Redis and finds or builds the API. Nothing is left
// running when it fails.
func Start(ctx context.Context, config Config) (_ *Stack, err error) {
	// Absolute, because the processes work in LogDir.
	if config.LogDir, err = filepath.Abs(config.LogDir); err != nil {
		return nil, fmt.Errorf("start stack: %w", err)
	}
	s := &Stack{config: config}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.redis, err = startRedis(ctx, config); err != nil {
		return nil, err
	}
	return s, s.findAPI(ctx)
}

// Store is the Redis that was found.
func (s *Stack) Store() run.Store { return s.redis.store }

// RedisURL is where the Redis is, password included.
func (s *Stack) RedisURL() string { return s.redis.url }

// Notes are what a reader of the results must know first.
func (s *Stack) Notes() []string { return s.redis.notes }

// Close stops everything that was started, the last first.
func (s *Stack) Close() {
	for _, api := range slices.Backward(s.apis) {
		api.Stop()
	}
	s.apis = nil
	if s.redis != nil {
		s.redis.stop()
		s.redis = nil
	}
	if s.built != "" {
		_ = os.RemoveAll(s.built) // a leftover in the temporary folder harms nobody
		s.built = ""
	}
}

// An API is one running process of the limited API.
type API struct {
	URL     string // e.g. "http://127.0.0.1:41213"
	process *Process
}

// Stop ends the process gracefully: its requests in flight finish.
func (a *API) Stop() { a.process.Stop() }

// Done is closed when the process has ended, asked or not.
func (a *API) Done() <-chan struct{} { return a.process.Done() }

// Process is the process, for whoever wants to do it harm.
func (a *API) Process() *Process { return a.process }

// StartAPI starts one API process, on a free loopback port unless settings have
// a LISTEN_ADDR, and waits until it is ready. Settings are the API's environment variables, e.g. TB_RATE; nothing
// else of weir's environment reaches it, nor a .env file. The log is
// LogDir/api-<name>.log.
func (s *Stack) StartAPI(ctx context.Context, name string, settings map[string]string) (*API, error) {
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "REDIS_URL": s.redis.url,
		"LISTEN_ADDR": "127.0.0.1:0", // the log then says which port it got
	}
	maps.Copy(env, settings)
	env["LOG_FORMAT"] = "text"
	//nolint:noctx // Stop ends it gracefully; a cancelled run still needs it until its requests are done
	cmd := exec.Command(s.config.APIBinary)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, key+"="+env[key])
	}
	process, err := StartLogged(cmd, s.config.LogDir, "api-"+name)
	if err != nil {
		return nil, err
	}
	api := &API{process: process}
	if err := process.waitReady(ctx, api.ready); err != nil {
		return nil, err
	}
	s.apis = append(s.apis, api)
	return api, nil
}

// listening is the line of the API's log that says where it listens.
var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// ready reports why the API cannot be used yet. It learns the URL first.
func (a *API) ready(ctx context.Context) error {
	log, err := os.ReadFile(a.process.log)
	if err != nil {
		return err
	}
	found := listening.FindSubmatch(log)
	if found == nil {
		return errors.New("its log does not say where it listens")
	}
	a.URL = "http://" + string(found[1])
	return answersOK(ctx, a.URL+"/readyz")
}

// answersOK reports why url does not answer 200.
func answersOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}

// findAPI sets APIBinary: as configured, beside this program, or built.
func (s *Stack) findAPI(ctx context.Context) error {
	if s.config.APIBinary != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the API: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "weir-api")
	if _, err := os.Stat(beside); err == nil {
		s.config.APIBinary = beside
		return nil
	}
	if s.built, err = os.MkdirTemp("", "weir-api-"); err != nil {
		return fmt.Errorf("build the API: %w", err)
	}
	binary := filepath.Join(s.built, "weir-api")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "weir/api").CombinedOutput(); err != nil {
		return fmt.Errorf("no weir-api beside %s, and building it here failed: %w (run `make build`, or weir inside its repository): %s",
			self, err, strings.TrimSpace(string(output)))
	}
	s.config.APIBinary = binary
	return nil
}

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: returns at once
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
