# weir: every recipe is short; what is longer lives in scripts/ or in the programs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

COMMIT := $(shell git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
LDFLAGS := -s -w -X main.commit=$(COMMIT)
GO_FILES := $(shell git ls-files -co --exclude-standard '*.go' 2>/dev/null)
SOURCES := go.mod go.sum $(filter-out %_test.go k6/% bench/peers/%,$(GO_FILES)) $(shell git ls-files -co --exclude-standard bench/report/assets bench/live/assets lua 2>/dev/null)
TOOLS := bin/tools
LINT_VERSION := $(shell sed -n '1s/^\# //p' .golangci.yml)
MODULES := k6 bench/peers
ARGS ?=
SCENARIO ?= smoke
RUN ?= latest

##@ Use
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9%-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

bench: build-all ## attack the limited API with the standard suite; report in results/latest (QUICK=1: within a minute)
	bin/weir run $(if $(QUICK),--quick) $(ARGS)

test: ## run all tests (REQUIRE_REDIS=1: fail, not skip, without a real Redis)
	@scripts/test.sh ./...

bench-go: | results ## time the code itself (go test -bench), in benchstat form, into results/
	go test -run '^$$' -bench . -benchmem -count $(or $(COUNT),6) ./... | tee results/bench-go-$(COMMIT).txt

bench-load: build-all ## weir against the load generators installed here, in one run
	scripts/bench-load.sh

bench-peers: $(TOOLS)/benchstat | results ## other people's limiters beside ours over one Redis: speed, and was the limit kept (3 minutes)
	scripts/bench-peers.sh $(ARGS)

faults: build ## break Redis, the API and weir itself on purpose, and show what happens (6 minutes): make faults ARGS='--only redis-killed'
	bin/weir faults $(ARGS)

soak: build ## 5,000/s for FOR=10m: heap, goroutines and file descriptors end where they began
	bin/weir faults --only soak --soak $(or $(FOR),10m) $(ARGS)

league: bin/weir-api bench/peers/node/node_modules | results ## other people's limiters behind HTTP servers, attacked and judged (3 minutes)
	cd bench/peers && go run ./league -api ../../bin/weir-api -out ../../results/league-$(COMMIT) $(ARGS)

bench/peers/node/node_modules: bench/peers/node/package-lock.json
	@if command -v npm >/dev/null; then cd bench/peers/node && npm ci --no-audit --no-fund --silent && touch node_modules; \
	else echo 'npm is not installed: the league goes on without its limiters'; fi

k6: build-all ## run one k6 scenario: make k6 SCENARIO=soak ARGS='--duration 1m'
	bin/weir run --scenario $(SCENARIO) $(ARGS)

report: bin/weir ## write the report of a run again: make report RUN=latest
	bin/weir report $(RUN)

live: build ## the page to watch, attack and compare, with a Redis and the limited API: http://127.0.0.1:8089
	bin/weir live --with-api $(ARGS)

api: bin/weir-api ## start the limited API (settings: bin/weir-api --help)
	bin/weir-api $(ARGS)

reproduce-%: | results ## show how the judge catches a fault: make reproduce-ttl-rounded-down (all are in bench/judge/README.md)
	@KEEP=$(CURDIR)/results go test ./bench/judge -count=1 -v -run '^TestTeeth$$/^$*$$' | grep -v '^==='

redis-up: ## start a Redis on 127.0.0.1:6379
	scripts/redis.sh start

redis-down: ## stop it
	scripts/redis.sh stop

##@ Build
build: bin/weir bin/weir-api ## build weir and weir-api
build-all: build bin/k6 ## and k6 with weir's output

bin/weir: $(SOURCES) | bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./bench

bin/weir-api: $(SOURCES) | bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./api

bin/k6: $(SOURCES) $(filter-out %_test.go,$(filter k6/%,$(GO_FILES))) k6/go.mod | bin
	@echo 'building k6 (the first time takes about two minutes)'
	cd k6 && go build -trimpath -ldflags '-s -w' -o ../$@ .

bin results:
	@mkdir -p $@

identify-grid: | results ## how often weir identify is right, over all kinds, rates, capacities and jitter (15 minutes)
	go test ./bench/identify -count=1 -timeout 60m -run '^TestGrid$$' -grid $(CURDIR)/results/identify-grid.md
	@sed '/^### wrong/,$$d' results/identify-grid.md

##@ Develop
setup: $(TOOLS)/golangci-lint $(TOOLS)/gotestsum $(TOOLS)/benchstat hooks ## install the tools and the git hooks

check: fmt-check lint vet tidy-check race test-modules ## what CI and the pre-push hook run

fmt: $(TOOLS)/golangci-lint ## format the Go code
	$(TOOLS)/golangci-lint fmt ./...

fmt-check: $(TOOLS)/golangci-lint ## fail when something is not formatted
	$(TOOLS)/golangci-lint fmt --diff ./...

lint: $(TOOLS)/golangci-lint ## lint all modules and the scripts
	$(TOOLS)/golangci-lint run ./...
	for module in $(MODULES); do (cd $$module && $(CURDIR)/$(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; else echo 'shellcheck is not installed: scripts not linted'; fi

lint-new: $(TOOLS)/golangci-lint ## lint what changed since the last commit
	$(TOOLS)/golangci-lint run --new-from-rev HEAD ./...

vet: ## go vet
	go vet ./...
	for module in $(MODULES); do (cd $$module && go vet ./...); done

tidy-check: ## go.mod and go.sum say what is used
	go mod tidy -diff
	for module in $(MODULES); do (cd $$module && go mod tidy -diff); done

race: ## the tests but the long stories, with the race detector, in random order
	@scripts/test.sh -race -shuffle=on -short ./...

test-short: ## the quick tests
	@scripts/test.sh -short ./...

test-modules: bin/k6 bin/weir-api ## the tests of the nested modules
	for module in $(MODULES); do (cd $$module && go test ./...); done

FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

hooks: ## install the pre-commit and pre-push hooks
	git config core.hooksPath .githooks

clean: ## remove what was built (results stay)
	rm -rf bin

$(TOOLS)/golangci-lint: .golangci.yml
	GOBIN=$(CURDIR)/$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@touch $@
$(TOOLS)/gotestsum:
	GOBIN=$(CURDIR)/$(TOOLS) go install gotest.tools/gotestsum@v1.13.0
$(TOOLS)/benchstat:
	GOBIN=$(CURDIR)/$(TOOLS) go install golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

.PHONY: help identify-grid live bench test bench-go bench-load bench-peers faults soak league k6 report api redis-up redis-down build build-all setup check fmt fmt-check lint lint-new vet tidy-check race test-short test-modules fuzz hooks clean
