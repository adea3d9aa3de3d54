// Package run is the folder of one run under results/: what was planned,
// recorded, judged and reported.
//
//	results/20261123T181200Z-standard-1a2b3c4/
//	  manifest.json          what was planned and what ran it
//	  <plan>/000001.parquet  records, one folder for each plan
//	  verdict.json           what the judge found
//	  report.{html,md,json}  benchmarks.txt  *.svg  plot.html
package run

import (
	"time"

	"weir/bench/plan"
)

// SchemaVersion is the version of manifest.json, and grows when a reader of an
// older one would misread it.
const SchemaVersion = 1

// A Manifest is what was planned and what ran it. It is rewritten after each
// plan, so that a run cut short still describes itself.
type Manifest struct {
	Schema  int       `json:"schema"`
	Suite   string    `json:"suite"` // "standard", "quick", "attack"
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"` // zero while running
	// Interrupted says that the run was stopped before its plans were done.
	Interrupted bool     `json:"interrupted,omitempty"`
	Command     string   `json:"command"` // repeats this run, seed included
	Commit      string   `json:"commit"`  // of weir, "-dirty" behind it where the tree was changed
	Seed        int64    `json:"seed"`
	Host        Host     `json:"host"`
	Store       Store    `json:"store"`
	Notes       []string `json:"notes,omitempty"` // what a reader must know first, e.g. "Redis: embedded miniredis"
	Attacks     []Attack `json:"attacks"`
}

// Host is the machine the load came from.
type Host struct {
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
}

// Store is the Redis behind the limited API, where weir knows it.
type Store struct {
	Kind    string `json:"kind"`    // "redis-server", "valkey-server", "REDIS_URL", "embedded miniredis", "" unknown
	Version string `json:"version"` // e.g. "7.0.15"
}

// An Attack is one plan as it was carried out.
type Attack struct {
	Plan    plan.Plan         `json:"plan"`
	Engine  string            `json:"engine"`        // "vegeta", "k6", "import"
	API     map[string]string `json:"api,omitempty"` // settings the limited API was started with
	Started time.Time         `json:"started"`       // planned instants count from here
	Ended   time.Time         `json:"ended"`
	Counts  Counts            `json:"counts"`
	Redis   *CommandCost      `json:"redis,omitempty"` // what decisions cost the store; nil where it does not say
	Error   string            `json:"error,omitempty"` // why it ended early
	// Granularity is the step of the clock behind an imported recording: an
	// instant t may have been anything in [t, t + Granularity).
	Granularity time.Duration `json:"granularity_ns,omitempty"`
}

// A CommandCost is what EVALSHA has cost Redis during an attack, by its own
// account (INFO commandstats): also what others asked of the same Redis then.
type CommandCost struct {
	Calls       int64   `json:"calls"`
	UsecPerCall float64 `json:"usec_per_call"` // of the server's one thread; 0 without calls
}

// Counts keep what was planned, sent and done apart.
type Counts struct {
	Planned int64 `json:"planned"` // arrivals the shape asked for
	Dropped int64 `json:"dropped"` // planned but never sent, because the generator was later than the plan's CatchUp
	Late    int64 `json:"late"`    // sent more than 1 ms after planned
	Sent    int64 `json:"sent"`
	Done    int64 `json:"done"`
}
