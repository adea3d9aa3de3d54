#!/usr/bin/env bash
# Runs every fuzz target of the module for a time each: scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
while IFS=: read -r file target; do
  echo "fuzz $target ($(dirname "$file")) for $time"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
done < <(grep -rno --include='*_test.go' --exclude-dir=k6 'func Fuzz[A-Za-z0-9_]*' api bench lua | sed -E 's/:[0-9]+:func /:/')
