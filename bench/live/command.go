package live

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/bench/plan"
)

// commandOf is the command that repeats the attack, edits left out.
func commandOf(f *Form, p *plan.Plan, ramp time.Duration) string {
	if f.Scenario != "" {
		base, path, _ := split(p.Targets[0].URL) // it was split to start k6
		return fmt.Sprintf("BASE_URL='%s' TARGET_PATH='%s' LIMIT='%s' DURATION=%s bin/k6 run k6/scenarios/%s.js", base, path, p.Limit, p.Duration, f.Scenario)
	}
	words := []string{"weir attack"}
	add := func(flag, value string) {
		words = append(words, "--"+flag+"='"+strings.ReplaceAll(value, "'", `'\''`)+"'")
	}
	for _, target := range p.Targets {
		add("target", target.URL)
	}
	if f.Method != "" && f.Method != http.MethodGet {
		add("method", f.Method)
	}
	for _, header := range f.Headers {
		add("header", header)
	}
	if f.Body != "" {
		add("body", f.Body)
	}
	add("shape", p.Shape.String())
	add("duration", p.Duration.String())
	if p.Keys.Count > 0 {
		add("keys", strconv.Itoa(p.Keys.Count))
		if p.Keys.Spread != "" {
			add("key-spread", p.Keys.Spread)
		}
		if p.Keys.Via != "" {
			add("key-via", p.Keys.Via)
		}
	}
	if p.Limit != nil {
		add("limit", p.Limit.String())
	}
	add("name", p.Name)
	text := strings.Join(words, " ")
	if ramp > 0 {
		text += " # its first " + ramp.String() + " were a ramp from 0"
	}
	return text
}
