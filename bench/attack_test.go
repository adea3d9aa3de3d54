package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"weir/bench/run"
)

func TestAttackWritesARun(t *testing.T) {
	t.Parallel()
	n := make(chan string, 1000)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n <- r.Method + " " + r.URL.Path + " " + r.Header.Get("X-API-Key") + " " + r.Header.Get("A")
		if len(n) > 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer api.Close()
	results := t.TempDir()
	code, stdout, stderr := weir(t, "GET "+api.URL+"/more\n", "attack", "--target", api.URL+"/items", "--targets", "-",
		"--rate", "100/s", "--duration", "100ms", "--catch-up=-1ns", "--keys", "1", "--header", "A: b c", "--method", "PUT",
		"--throttle-status", "429,503", "--limit", "5/s,capacity=3", "--fresh", "--out", results)
	require.Equal(t, exitOK, code, stderr)
	assert.Contains(t, stdout, "10 planned, 10 sent")
	assert.Regexp(t, `admitted +3 `, stdout)
	assert.Regexp(t, `throttled +7 `, stdout)
	assert.Len(t, n, 10)
	assert.Equal(t, "PUT /items attack-0 b c", <-n)

	folder, err := run.Open(filepath.Join(results, run.Latest))
	require.NoError(t, err)
	assert.Contains(t, stdout, folder.Name())
	m := folder.Manifest()
	require.Len(t, m.Attacks, 1)
	a := m.Attacks[0]
	assert.Equal(t, "vegeta", a.Engine)
	assert.Equal(t, int64(10), a.Counts.Done)
	assert.Equal(t, "5/s,capacity=3", a.Plan.Limit.String())
	assert.Len(t, a.Plan.Targets, 2)
	assert.WithinDuration(t, time.Now(), m.Ended, time.Minute)
	assert.Contains(t, m.Command, "weir attack --target="+api.URL+"/items --targets=- --rate=100/s")
	assert.Contains(t, m.Command, "--header='A: b c'")
	assert.Contains(t, m.Command, "--seed=1")
}

func TestAttackRefuses(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	here := httptest.NewServer(http.NotFoundHandler())
	defer here.Close()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "no target"},
		{"--target http://127.0.0.1:1/ --shape spike:9", exitUsage, `unknown shape "spike" (want constant:500/s, ramp:`},
		{"--target http://127.0.0.1:1/ --rate -5/s", exitUsage, "negative"},
		{"--target http://127.0.0.1:1/ --duration -1s", exitUsage, "duration -1s"},
		{"--target http://127.0.0.1:1/ --users -1", exitUsage, "number of users"},
		{"--target http://127.0.0.1:1/ --rate 1 --users 1", exitUsage, "--rate and --users exclude each other"},
		{"--target http://127.0.0.1:1/ --limit 5", exitUsage, "no unit"},
		{"--target http://127.0.0.1:1/ --header A", exitUsage, "no colon"},
		{"--target http://127.0.0.1:1/ --body-file " + file + ".x", exitUsage, "no such file"},
		{"--targets " + file, exitUsage, "no targets to attack"},
		{"--target ftp://127.0.0.1/", exitUsage, "begins with http"},
		{"--target http://192.0.2.1/", exitUsage, "--allow-remote"},
		{"--target http://127.0.0.1:1/ --frobnicate", exitUsage, "unknown flag"},
		{"--target " + gone.URL, exitFailed, "connection refused"},
		{"--target " + here.URL + " --out " + file, exitFailed, file},
	} {
		code, stdout, stderr := weir(t, "", append([]string{"attack"}, strings.Fields(c.args)...)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Empty(t, stdout, c.args)
		assert.Contains(t, stderr, c.want, c.args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %s", stderr)
	}
}
