#!/usr/bin/env bash
# Preloads lua/token_bucket.lua into a Redis and prints its SHA, for EVALSHA by hand.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/load-script.sh [REDIS_URL]

Loads lua/token_bucket.lua and prints its SHA. The URL defaults to $REDIS_URL, then to redis://127.0.0.1:6379/0.
The API loads the script by itself; this is for trying it by hand:

  sha=$(scripts/load-script.sh)
  redis-cli evalsha "$sha" 1 tb:user:alice 5 1 20 1
USAGE
}

case ${1:-} in
  -h | --help) usage; exit ;;
esac
if [[ $# -gt 1 ]]; then
  usage >&2
  exit 2
fi

url=${1:-${REDIS_URL:-redis://127.0.0.1:6379/0}}
cli=$(command -v redis-cli || command -v valkey-cli) || {
  echo 'load-script.sh: neither redis-cli nor valkey-cli is in PATH (apt-get install redis-tools)' >&2
  exit 1
}
script=$(dirname "$0")/../lua/token_bucket.lua

# redis-cli exits 0 when the server answers an error, so the answer itself is checked.
sha=$("$cli" -u "$url" --no-auth-warning -x script load <"$script" 2>&1) || true
if [[ ! $sha =~ ^[0-9a-f]{40}$ ]]; then
  if [[ $url =~ ^([a-z]+://)[^/]*@(.*)$ ]]; then url="${BASH_REMATCH[1]}***@${BASH_REMATCH[2]}"; fi
  echo "load-script.sh: $url did not take the script: $sha (is it running? scripts/redis.sh start)" >&2
  exit 1
fi
echo "$sha"
