package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/server"
)

// defaultPath is the route that TB_CAPACITY and TB_RATE limit.
const defaultPath = "/items"

// A route is a limited path as it is set.
type route struct {
	path  string
	limit limit.Limit
	cost  int64
	away  guard.Policy
}

// bucketPrefix is what stands before a client's name in Redis: tb:user: for
// /items, as the predecessor had it, and tb:user:/export: for /export. No name
// of a client starts with a slash, so no two buckets are one.
func (r route) bucketPrefix(prefix string) string {
	if r.path == defaultPath {
		return prefix
	}
	return prefix + r.path + ":"
}

// String writes the route as parseRoutes reads it.
func (r route) String() string {
	return fmt.Sprintf("%s=%s,cost=%d,away=%s", r.path, r.limit, r.cost, r.away)
}

func routesText(routes []route) string {
	texts := make([]string, len(routes))
	for i, r := range routes {
		texts[i] = r.String()
	}
	return strings.Join(texts, ";")
}

// parseRoutes reads PATH=RATE/UNIT[,capacity=N][,cost=N][,away=POLICY], several
// separated by semicolons: "/items=100/m;/export=1/s,capacity=5,cost=2,away=open".
// A policy that is left out is the given one.
func parseRoutes(text string, away guard.Policy) ([]route, error) {
	var routes []route
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		r, err := parseRoute(part, away)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", part, err)
		}
		if slices.ContainsFunc(routes, func(other route) bool { return other.path == r.path }) {
			return nil, fmt.Errorf("route %q: %s is there twice (want each path once)", part, r.path)
		}
		routes = append(routes, r)
	}
	return routes, nil
}

func parseRoute(text string, away guard.Policy) (route, error) {
	path, promise, found := strings.Cut(text, "=")
	r := route{path: strings.TrimSpace(path), cost: 1, away: away}
	if !found {
		return r, fmt.Errorf("no limit (want PATH=RATE/UNIT[,capacity=N][,cost=N][,away=closed|open|local], e.g. %s=100/m,capacity=100)", r.path)
	}
	if err := checkPath(r.path); err != nil {
		return r, err
	}
	var rest []string // what a limit is made of
	for field := range strings.SplitSeq(promise, ",") {
		name, value, _ := strings.Cut(field, "=")
		value = strings.TrimSpace(value)
		var err error
		switch strings.TrimSpace(name) {
		case "cost":
			if r.cost, err = strconv.ParseInt(value, 10, 64); err != nil || r.cost < 1 {
				return r, fmt.Errorf("cost %q: want a whole number of tokens, at least 1", value)
			}
		case "away":
			if r.away, err = guard.ParsePolicy(value); err != nil {
				return r, fmt.Errorf("away: %w", err)
			}
		default:
			rest = append(rest, field)
		}
	}
	var err error
	if r.limit, err = limit.Parse(strings.Join(rest, ",")); err != nil {
		return r, fmt.Errorf("%w; also cost=N and away=closed|open|local", err)
	}
	if r.cost > r.limit.Capacity {
		return r, fmt.Errorf("cost %d: no request could ever pass (want at most the capacity, %d)", r.cost, r.limit.Capacity)
	}
	return r, nil
}

// checkPath keeps a path to what needs no escaping in a URL, in a bucket's name
// and in the RateLimit fields, and away from the routes that are not limited.
func checkPath(path string) error {
	if slices.Contains(server.Reserved, path) {
		return fmt.Errorf("path %s: never limited (want another than %s)", path, strings.Join(server.Reserved, ", "))
	}
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
	clean := strings.HasPrefix(path, "/") && len(path) > 1 && !strings.HasSuffix(path, "/") &&
		!strings.Contains(path, "//") && !strings.Contains(path, "/.") && strings.Trim(path, allowed) == ""
	if !clean {
		return fmt.Errorf("path %q: want a slash, then letters, digits and -._~/, e.g. /export", path)
	}
	return nil
}
