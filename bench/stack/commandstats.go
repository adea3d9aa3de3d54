package stack

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// CommandStats are what Redis says it has spent on one command since it started.
// The difference of two is what a run has cost it: take one before and one after.
type CommandStats struct {
	Calls  int64
	Micros int64 // µs of the server's one thread
}

// Since returns the part of s that came after before.
func (s CommandStats) Since(before CommandStats) CommandStats {
	return CommandStats{Calls: s.Calls - before.Calls, Micros: s.Micros - before.Micros}
}

// PerCall returns µs a call, 0 where there was none.
func (s CommandStats) PerCall() float64 {
	if s.Calls == 0 {
		return 0
	}
	return float64(s.Micros) / float64(s.Calls)
}

// ReadCommandStats asks the Redis at redisURL what a command, e.g. "evalsha", has
// cost it. A command that was never called has zeros. Embedded miniredis keeps no
// such account and answers with an error.
func ReadCommandStats(ctx context.Context, redisURL, command string) (CommandStats, error) {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return CommandStats{}, explain(redisURL, err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return CommandStats{}, fmt.Errorf("read commandstats: %w", err)
	}
	return parseCommandStats(info, command)
}

// parseCommandStats reads lines like "cmdstat_evalsha:calls=2,usec=9,usec_per_call=4.50".
func parseCommandStats(info, command string) (s CommandStats, err error) {
	for line := range strings.Lines(info) {
		fields, found := strings.CutPrefix(strings.TrimSpace(line), "cmdstat_"+command+":")
		if !found {
			continue
		}
		for field := range strings.SplitSeq(fields, ",") {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "calls":
				s.Calls, err = strconv.ParseInt(value, 10, 64)
			case "usec":
				s.Micros, err = strconv.ParseInt(value, 10, 64)
			}
			if err != nil {
				return CommandStats{}, fmt.Errorf("read commandstats: %q: %w", line, err)
			}
		}
	}
	return s, nil
}
