#!/usr/bin/env bash
# The benchmark of bench/peers in rounds, so that a slow minute of the machine falls on all alike:
# how fast each limiter decides over one private Redis, and whether it kept the limit meanwhile.
#   scripts/bench-peers.sh [--rounds 6] [--time 60ms] [--only REGEXP] [--name NAME]
# Writes results/bench-peers-NAME.txt (go test -bench), .table.txt (benchstat), .md and .svg. Fewer
# than 6 rounds give no confidence interval. --time is what each of the 106 measurements of a round
# takes, beside twice as long to warm up; --only is a `go test -bench` pattern, e.g. /peer=weir.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=6 time=60ms only=. name=$(git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)
while (($#)); do
  case $1 in
    --rounds) rounds=$2 ;;
    --time) time=$2 ;;
    --only) only=$2 ;;
    --name) name=$2 ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "bench-peers.sh: unknown argument \"$1\" (see --help)" >&2; exit 2 ;;
  esac
  shift 2
done
benchstat=$(command -v benchstat || echo bin/tools/benchstat)
[[ -x $benchstat ]] || { echo "bench-peers.sh: benchstat is missing (make setup)" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=results/bench-peers-$name
mkdir -p results
(cd bench/peers && go test -c -o "$work/peers.test" . && go build -o "$work/chart" ./chart)
: >"$out.txt"
for ((round = 1; round <= rounds; round++)); do
  echo "bench-peers.sh: round $round of $rounds" >&2
  "$work/peers.test" -test.run '^$' -test.bench "$only" -test.benchtime "$time" >>"$out.txt"
done

"$benchstat" -table /outcome,/callers -row /peer -col .file -format text peers="$out.txt" >"$out.table.txt"
"$work/chart" "$out.txt" >"$out.svg"
"$work/chart" -table "$out.txt" | tee "$out.md"
echo "bench-peers.sh: wrote $out.txt, $out.table.txt, $out.md and $out.svg" >&2
