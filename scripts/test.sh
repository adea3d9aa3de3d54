#!/usr/bin/env bash
# Runs go test with the arguments given, and says what a machine without Redis left out.
# REQUIRE_REDIS=1 makes the tests that need a real Redis fail instead of being skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
go test -timeout 20m "$@" || status=$?

if [[ -z ${REQUIRE_REDIS:-} ]] && ! command -v redis-server valkey-server >/dev/null; then
  echo "left out: the tests against a real Redis (no redis-server or valkey-server in PATH); the embedded store was tested." >&2
  echo "          apt-get install redis-server, then REQUIRE_REDIS=1 make test, runs them all." >&2
fi
exit "$status"
