#!/usr/bin/env bash
# Sends requests with curl, one after the other, until the first 429.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/hammer.sh [URL] [KEY]

Sends GET URL (http://127.0.0.1:8000/items) until the answer is 429, and prints each status with the tokens that remain,
and at the 429 its Retry-After. KEY goes along as X-API-Key. MAX (1000) bounds the requests.

Exit codes: 0 throttled · 1 no answer, or an answer that is neither 2xx nor 429 · 3 not throttled after MAX requests
USAGE
}

case ${1:-} in
  -h | --help) usage; exit ;;
esac
if [[ $# -gt 2 ]]; then
  usage >&2
  exit 2
fi

url=${1:-http://127.0.0.1:8000/items}
key=${2:-}
max=${MAX:-1000}

# header NAME reads the answer's headers from stdin and prints the value of one.
header() { tr -d '\r' | awk -v name="$1" 'tolower($1) == tolower(name ":") { sub(/^[^:]*: */, ""); print; exit }'; }

for ((i = 1; i <= max; i++)); do
  if ! answer=$(curl -sS --max-time 10 -o /dev/null -D - ${key:+-H "X-API-Key: $key"} "$url" 2>&1); then
    echo "hammer.sh: $answer (is the API running? make api)" >&2
    exit 1
  fi
  status=$(head -n 1 <<<"$answer" | cut -d ' ' -f 2)
  remaining=$(header X-RateLimit-Remaining <<<"$answer")
  case ${status//[^0-9]/} in
    2??) printf '%4d  %s  remaining %s\n' "$i" "${status//[^0-9]/}" "${remaining:-?}" ;;
    429)
      retry=$(header Retry-After <<<"$answer")
      printf '%4d  429  remaining %s  Retry-After %s\n' "$i" "${remaining:-?}" "${retry:-absent}"
      exit 0
      ;;
    *)
      echo "hammer.sh: request $i was answered ${status:-nothing}" >&2
      exit 1
      ;;
  esac
done
echo "hammer.sh: $max requests, and not one 429" >&2
exit 3
