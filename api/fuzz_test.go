package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"weir/api/limit/guard"
)

// Whatever a setting's value is, it is refused by the setting's name or means
// something that can be served; and a password in it is never repeated.
func FuzzSettings(f *testing.F) {
	for i, s := range table {
		f.Add(i, s.value)
	}
	for i, value := range []string{"redis://user:hunter2@host:1/0", "unix:///run/redis.sock?db=1", "redis://a?addr=b:1&addr=c:2", "redis://:hunter2@[::1/0", ":hunter2@"} {
		f.Add(i*len(table), value)
	}
	f.Add(4, "1/3h")
	f.Fuzz(func(t *testing.T, which int, value string) {
		setting := table[(which%len(table)+len(table))%len(table)]
		if strings.ContainsRune(value, 0) {
			return // no environment holds it
		}
		set := pflag.NewFlagSet("weir-api", pflag.ContinueOnError)
		addFlags(set)
		s, err := readSettings(set, func(name string) (string, bool) { return value, name == setting.name }, "/nowhere/.env")
		switch {
		case err != nil && !strings.Contains(err.Error(), strings.TrimPrefix(setting.name, "TB_")) && !strings.Contains(err.Error(), "TB_"):
			t.Errorf("%s=%q is refused by %q, which does not name it", setting.name, value, err)
		case err != nil && strings.Contains(err.Error(), "hunter2") && strings.HasPrefix(value, "redis://user:hunter2@host"):
			t.Errorf("%s: the password is repeated: %v", setting.name, err)
		case err != nil:
			return
		}
		if err == nil {
			for _, r := range s.routes {
				if err := r.limit.Validate(); err != nil || r.cost < 1 || r.cost > r.limit.Capacity && r.path != defaultPath {
					t.Errorf("%s=%q: route %s cannot be served (%v)", setting.name, value, r, err)
				}
			}
		}
	})
}

// What a route reads as is read back as the same route.
func FuzzRoutes(f *testing.F) {
	f.Add("/items=100/m;/export=1/s,capacity=5,cost=2,away=open")
	f.Add(" /a = 1/3s , away=local ;; ")
	f.Add("/metrics=1/s")
	f.Fuzz(func(t *testing.T, text string) {
		routes, err := parseRoutes(text, guard.Open)
		if err != nil {
			return
		}
		again, err := parseRoutes(routesText(routes), guard.Closed)
		if err != nil || !reflect.DeepEqual(again, routes) {
			t.Errorf("parseRoutes(%q) = %s, which reads back as %s (%v)", text, routesText(routes), routesText(again), err)
		}
		for _, r := range routes {
			if strings.ContainsAny(r.path, " \t\r\n\"\\;=") || !strings.HasPrefix(r.path, "/") {
				t.Errorf("parseRoutes(%q) has path %q, which needs escaping", text, r.path)
			}
		}
	})
}

// A .env file is read or refused, never worse.
func FuzzDotEnv(f *testing.F) {
	f.Add([]byte("TB_CAPACITY=3\nTB_RATE=\"5/s\"\n# text\nexport KEY_BY='address'\n"))
	f.Add([]byte("A=${B}\nB=\"\\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		set := pflag.NewFlagSet("weir-api", pflag.ContinueOnError)
		addFlags(set)
		s, err := readSettings(set, func(string) (string, bool) { return "", false }, file)
		if err == nil && s.routes[0].limit.Validate() != nil {
			t.Errorf("%q gives %s, which is no limit", text, s.routes[0])
		}
	})
}
