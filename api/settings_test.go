package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/joho/godotenv"
	"github.com/spf13/pflag"

	"weir/api/limit/guard"
)

// read is readSettings with flags, an environment and the text of a .env file.
func read(t *testing.T, flags []string, env map[string]string, dotenv string) (settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), ".env")
	if dotenv != "" {
		if err := os.WriteFile(file, []byte(dotenv), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := pflag.NewFlagSet("weir-api", pflag.ContinueOnError)
	addFlags(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	return readSettings(set, lookup, file)
}

func TestSourcesInOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		flags  []string
		env    map[string]string
		dotenv string
		want   int64
	}{
		{"default", nil, nil, "", 20},
		{"file", nil, nil, "TB_CAPACITY=3\n", 3},
		{"environment over file", nil, map[string]string{"TB_CAPACITY": "2"}, "TB_CAPACITY=3\n", 2},
		{"flag over environment", []string{"--tb-capacity", "1"}, map[string]string{"TB_CAPACITY": "2"}, "TB_CAPACITY=3\n", 1},
		{"empty variable is absent", nil, map[string]string{"TB_CAPACITY": ""}, "TB_CAPACITY=3\n", 3},
		{"empty everywhere is the default", nil, map[string]string{"TB_CAPACITY": ""}, "TB_CAPACITY=\n", 20},
		{"flag that repeats the default", []string{"--tb-capacity=20"}, map[string]string{"TB_CAPACITY": "2"}, "", 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := read(t, test.flags, test.env, test.dotenv)
			if err != nil || s.limit.Capacity != test.want || s.routes[0].limit.Capacity != test.want {
				t.Errorf("capacity = %d, %v, want %d", s.limit.Capacity, err, test.want)
			}
		})
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"REDIS_URL", "localhost", "want redis://"},
		{"REDIS_URL", "http://127.0.0.1", "want redis://"},
		{"REDIS_URL", "redis://127.0.0.1:99999", "want one from 0 to 65535"},
		{"LISTEN_ADDR", "8000", "want host:port"},
		{"LISTEN_ADDR", "127.0.0.1:http", "want host:port"},
		{"LISTEN_ADDR", "127.0.0.1:65536", "want host:port"},
		{"TB_CAPACITY", "0", "at least 1"},
		{"TB_CAPACITY", "2.5", "whole number"},
		{"TB_CAPACITY", "9007199254740992", "want capacity at most"},
		{"TB_RATE", "fast", "want a number of tokens"},
		{"TB_RATE", "-5", "negative"},
		{"TB_RATE", "5/d", "want s, m or h"},
		{"KEY_BY", "cookie", "want address, or header:NAME"},
		{"KEY_IPV6_PREFIX", "129", "from 1 to 128"},
		{"TRUSTED_PROXIES", "10.0.0.0/8 10.1.1.1", "want e.g."},
		{"REDIS_AWAY", "maybe", "want closed, open or local"},
		{"REDIS_AWAY_SHARE", "1.5", "at most 1"},
		{"REDIS_AWAY_SHARE", "0", "more than 0"},
		{"REDIS_AWAY_SHARE", "1/0", "more than 0"},
		{"REDIS_AWAY_SHARE", "1e-9", "more than 0"},
		{"REDIS_DEADLINE", "250", "with its unit"},
		{"REDIS_DEADLINE", "0s", "from 1ms"},
		{"REDIS_BATCH", "0", "from 1"},
		{"LOCAL_THROTTLE", "1h", "to 1m"},
		{"LEASE", "-1", "0 or more"},
		{"BREAKER_FAILURES", "0", "from 1"},
		{"BREAKER_COOLDOWN", "never", "with its unit"},
		{"ROUTES", "/export", "no limit (want PATH=RATE/UNIT"},
		{"ROUTES", "export=1/s", "want a slash"},
		{"ROUTES", "/a{b}=1/s", "want a slash"},
		{"ROUTES", "/a/../b=1/s", "want a slash"},
		{"ROUTES", "/metrics=1/s", "never limited"},
		{"ROUTES", "/a=1/s;/a=2/s", "twice"},
		{"ROUTES", "/a=1/s,cost=0", "at least 1"},
		{"ROUTES", "/a=1/s,cost=2", "want at most the capacity, 1"},
		{"ROUTES", "/a=1/s,away=ajar", "want closed, open or local"},
		{"ROUTES", "/a=5", "want RATE/UNIT"},
		{"ROUTES", "/a=1/s,burst=5", "want capacity=N"},
		{"METRICS_MAX_AGE_SECONDS", "0", "from 1 to 86400"},
		{"METRICS_MAX_AGE_SECONDS", "30m", "from 1 to 86400"},
		{"DRAIN_TIMEOUT", "-1s", "from 0s"},
		{"LOG_LEVEL", "loud", "want debug"},
		{"LOG_FORMAT", "xml", "want text or json"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			t.Parallel()
			_, err := read(t, nil, map[string]string{test.name: test.value}, "")
			if err == nil {
				t.Fatalf("%s=%s was accepted", test.name, test.value)
			}
			for _, part := range []string{test.name, test.value, test.want} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s=%s: %q does not say %q", test.name, test.value, err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
		})
	}
}

func TestPasswordsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"http://user:hunter2@host", "redis://user:hunter2@host:99999", "redis://user:hunter2@host:port:port", "user:hunter2@%zz", "redis://:hunter2@host/many",
	} {
		_, err := read(t, []string{"--redis-url", value}, nil, "")
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Errorf("REDIS_URL=%s: %v, want a refusal without the password", value, err)
		}
	}
}

func TestBadEnvFileIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := read(t, nil, nil, "TB_CAPACITY 20 'oops\n"); err == nil || !strings.Contains(err.Error(), "want lines of NAME=value") {
		t.Errorf("err = %v, want it to say how a line looks", err)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	s, err := read(t, []string{"--redis-away=local", "--tb-rate=10/m"}, map[string]string{
		"ROUTES": " /export = 1/s, capacity=5 ,cost=2, away=open ; /v1/search.json=100/m;",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := "/items=10/m,capacity=20,cost=1,away=local;/export=1/s,capacity=5,cost=2,away=open;/v1/search.json=100/m,capacity=100,cost=1,away=local"
	if got := routesText(s.routes); got != want {
		t.Errorf("routes = %s, want %s", got, want)
	}
	again, err := parseRoutes(want, guard.Closed)
	if err != nil || !reflect.DeepEqual(again, s.routes) {
		t.Errorf("parseRoutes does not read what String writes: %v, %v", again, err)
	}
	for i, prefix := range []string{"tb:user:", "tb:user:/export:", "tb:user:/v1/search.json:"} {
		if got := s.routes[i].bucketPrefix(s.bucketPrefix); got != prefix {
			t.Errorf("bucket prefix of %s = %q, want %q", s.routes[i].path, got, prefix)
		}
	}
}

func TestItemsMayBeInRoutes(t *testing.T) {
	t.Parallel()
	s, err := read(t, []string{"--routes=/export=1/s;/items=100/m,capacity=7"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := routesText(s.routes[:1]); len(s.routes) != 2 || got != "/items=100/m,capacity=7,cost=1,away=closed" {
		t.Errorf("routes = %s, want /items first, as ROUTES has it", routesText(s.routes))
	}
}

// --help and .env.example list every setting with its default.
func TestHelpAndExampleListEverySetting(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"--help"}, &out, &errs); code != exitOK || errs.Len() != 0 {
		t.Errorf("--help: exit %d, stderr %q", code, errs.String())
	}
	example, err := godotenv.Read("../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range table {
		for _, part := range []string{"--" + s.flag() + " ", s.name, s.value, s.about} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("--help lacks %q of %s", part, s.name)
			}
		}
		if value, found := example[s.name]; !found || value != s.value {
			t.Errorf(".env.example has %s=%q (%v), want the default %q", s.name, value, found, s.value)
		}
		delete(example, s.name)
	}
	if len(example) != 0 {
		t.Errorf(".env.example has what is no setting: %v", example)
	}
}

func TestMisuseExits2(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--nope"}, {"extra"}, {"--tb-capacity"}, {"--tb-capacity", "many"}} {
		var out, errs bytes.Buffer
		code := execute(t.Context(), args, &out, &errs)
		if code != exitUsage || out.Len() != 0 || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), "weir-api --help") {
			t.Errorf("weir-api %q: exit %d, stdout %q, stderr %q, want 2 and one line", args, code, out.String(), errs.String())
		}
	}
}
