#!/usr/bin/env bash
# Load generators side by side, in one run: how many requests a second each gets out of the same
# endpoint, weir-api's /free, on loopback. Rounds are interleaved, so that a slow minute of the
# machine falls on all alike. A generator that is not installed is left out, and said so.
#   scripts/bench-load.sh [--rounds 3] [--seconds 3] [--connections 32]
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3 seconds=3 connections=32
while (($#)); do
  case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --connections) connections=$2 ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "bench-load.sh: unknown argument \"$1\" (see --help)" >&2; exit 2 ;;
  esac
  shift 2
done

work=$(mktemp -d)
api=
cleanup() {
  if [[ -n $api ]]; then kill "$api" 2>/dev/null && wait "$api" 2>/dev/null; fi
  rm -rf "$work"
}
trap cleanup EXIT

# vegeta's own program, of the version that weir links.
go build -o "$work/vegeta" github.com/tsenart/vegeta/v12
for binary in weir weir-api k6; do
  [[ -x bin/$binary ]] || { echo "bench-load.sh: bin/$binary is missing (make build-all)" >&2; exit 1; }
done

LISTEN_ADDR=127.0.0.1:0 REDIS_URL=memory: bin/weir-api 2>"$work/api.log" &
api=$!
until grep -q '"\?listening' "$work/api.log"; do
  kill -0 "$api" 2>/dev/null || { cat "$work/api.log" >&2; exit 1; }
  sleep 0.05
done
url=http://$(grep -o '127\.0\.0\.1:[0-9]*' "$work/api.log" | head -n 1)/free

# Each prints requests per second, a whole number.
run_weir() {
  bin/weir attack --target "$url" --shape max --workers "$connections" --duration "${seconds}s" --out "$work" --name bench >"$work/weir.out" 2>&1
  sed -n 's/.*"done": *\([0-9]*\).*/\1/p' "$work/latest/manifest.json" | awk -v s="$seconds" '{printf "%.0f\n", $1 / s}'
}
run_vegeta() {
  echo "GET $url" | "$work/vegeta" attack -rate 0 -max-workers "$connections" -workers "$connections" -duration "${seconds}s" |
    "$work/vegeta" report -type json | sed -n 's/.*"rate":\([0-9.]*\).*/\1/p' | awk '{printf "%.0f\n", $1}'
}
run_wrk() { wrk -t2 -c"$connections" -d"${seconds}s" "$url" | awk '/Requests\/sec/ {printf "%.0f\n", $2}'; }
run_hey() { hey -z "${seconds}s" -c "$connections" "$url" | awk '/Requests\/sec/ {printf "%.0f\n", $2}'; }
run_ab() { ab -q -k -t "$seconds" -n 100000000 -c "$connections" "$url" 2>/dev/null | awk '/Requests per second/ {printf "%.0f\n", $4}'; }
run_k6() {
  cat >"$work/script.js" <<JS
import http from 'k6/http';
export const options = { vus: $connections, duration: '${seconds}s', discardResponseBodies: true };
export default function () { http.get('$url'); }
JS
  bin/k6 run --quiet --summary-export "$work/k6.json" "$work/script.js" >/dev/null 2>&1
  sed -n '/"http_reqs"/,/}/s/.*"rate": *\([0-9.]*\).*/\1/p' "$work/k6.json" | awk '{printf "%.0f\n", $1}'
}
run_locust() {
  cat >"$work/locustfile.py" <<PY
from locust import FastHttpUser, task
class User(FastHttpUser):
    @task
    def free(self): self.client.get("/free")
PY
  locust -f "$work/locustfile.py" --headless -u "$connections" -r "$connections" -t "${seconds}s" -H "${url%/free}" --csv "$work/locust" >/dev/null 2>&1
  awk -F, '$2 == "Aggregated" {printf "%.0f\n", $10}' "$work/locust_stats.csv"
}

names=(weir vegeta k6)
for peer in wrk hey ab locust; do
  if command -v "$peer" >/dev/null; then names+=("$peer"); else echo "left out: $peer (not installed)" >&2; fi
done

for ((round = 1; round <= rounds; round++)); do
  for name in "${names[@]}"; do
    echo "round $round of $rounds: $name for ${seconds} s" >&2
    "run_$name" >>"$work/$name.rps"
  done
done

median() { sort -n "$1" | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
base=$(median "$work/vegeta.rps")
printf '\n%-8s %14s %19s %10s\n' generator 'requests/s' 'lowest–highest' '× vegeta'
for name in "${names[@]}"; do
  awk -v name="$name" -v mid="$(median "$work/$name.rps")" -v base="$base" -v low="$(sort -n "$work/$name.rps" | head -n 1)" \
    -v high="$(sort -n "$work/$name.rps" | tail -n 1)" \
    'BEGIN {printf "%-8s %14.0f %19s %10.2f\n", name, mid, low "–" high, mid / base}'
done
echo "median of $rounds interleaved rounds of ${seconds} s, $connections connections, GET /free on loopback, $(nproc) cores shared by both ends"
