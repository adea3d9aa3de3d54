#!/usr/bin/env bash
# Runs one k6 scenario against a limited API that it starts, or against BASE_URL when that is set.
# k6's exit codes become weir's: 99 (a threshold failed) is 3, 104 (bad configuration) is 2.
#   scripts/k6.sh soak -e DURATION=1m
set -euo pipefail
cd "$(dirname "$0")/.."

scenario=${1:?usage: scripts/k6.sh SCENARIO [k6 arguments]; scenarios: $(cd k6/scenarios && echo *.js)}
shift
file=k6/scenarios/${scenario%.js}.js
if [[ ! -f $file ]]; then
  echo "k6.sh: no scenario \"$scenario\" (choose from: $(cd k6/scenarios && echo *.js | sed 's/\.js//g'))" >&2
  exit 2
fi
status=0
bin/k6 run "$@" "$file" || status=$?
case $status in
  99) exit 3 ;;
  104) exit 2 ;;
  *) exit "$status" ;;
esac
