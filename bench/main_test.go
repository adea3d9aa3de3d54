package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"weir/api/limit"
	"weir/api/limit/memlimit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main})
}

// Each story of testdata has servers of its own: $API keeps 20/s,capacity=5 for
// each X-API-Key, $LAX admits everything, and at $GONE nobody listens.
func TestStories(t *testing.T) {
	promise, err := limit.Parse("20/s,capacity=5")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			serve := func(name string, handler http.Handler) *httptest.Server {
				server := httptest.NewServer(handler)
				env.Setenv(name, server.URL+"/items")
				env.Defer(server.Close)
				return server
			}
			limiter, err := memlimit.New(promise, memlimit.Config{})
			if err != nil {
				return err
			}
			serve("API", limited(limiter))
			serve("LAX", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
			serve("GONE", http.NotFoundHandler()).Close()
			return nil
		},
	})
}

// limited is an API that asks limiter for each X-API-Key.
func limited(limiter limit.Limiter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		decision, err := limiter.Take(r.Context(), r.Header.Get("X-API-Key"), 1)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case decision.Allowed:
			w.WriteHeader(http.StatusOK)
		default:
			w.Header().Set("Retry-After", strconv.Itoa(1+int(decision.RetryAfter.Seconds())))
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
}

// exits runs a command and wants this exit code: exits 2 weir attack --rate -5/s
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
