#!/usr/bin/env bash
# Starts and stops a Redis on loopback, for the limited API: one server, or a cluster.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/redis.sh start|stop|status|cluster [--port N] [--docker]

  start     one server on 127.0.0.1:6379, nothing on disk
  cluster   3 masters and 3 replicas on 127.0.0.1:7001 to 7006
  status    what of these runs
  stop      stop what start and cluster started, and forget it

  --port N  listen on N (start), or from N on (cluster)
  --docker  start: run the image $REDIS_IMAGE (redis:7-alpine) instead of a local server

It uses redis-server or valkey-server from PATH. Process ids, logs and the cluster's files are in
$WEIR_REDIS_DIR, by default ${TMPDIR:-/tmp}/weir-redis-<uid>.
USAGE
}

die() {
  echo "redis.sh: $1" >&2
  exit "${2:-1}"
}

state=${WEIR_REDIS_DIR:-${TMPDIR:-/tmp}/weir-redis-$(id -u)}
image=${REDIS_IMAGE:-redis:7-alpine}
container=weir-redis

# first NAME... prints the first of the programs that is in PATH.
first() {
  local name
  for name in "$@"; do
    if command -v "$name"; then return; fi
  done
  die "none of \"$*\" is in PATH (apt-get install redis-server, or use --docker)"
}

cli() { "$(first redis-cli valkey-cli)" -h 127.0.0.1 "$@"; }

# ours PID says whether PID is a server that this script started, and not a later process of that number.
ours() { ps -p "$1" -o args= 2>/dev/null | grep -Eq '(redis|valkey)-server'; }

# wait_for SECONDS COMMAND... repeats COMMAND until it succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# Conditions for wait_for.
answers() { [[ $(cli -p "$1" ping 2>/dev/null) == PONG ]]; }
ended() { ! ours "$1"; }
up_or_ended() { answers "$1" || ended "$2"; }
joined() { cli -p "$1" cluster info | grep -q '^cluster_state:ok'; }

# launch PORT ARGUMENT... starts one local server and waits until it answers.
launch() {
  local port=$1 server pid
  shift
  server=$(first redis-server valkey-server)
  if answers "$port"; then die "something answers on 127.0.0.1:$port already (stop it, or choose another with --port)"; fi
  mkdir -p "$state/$port"
  "$server" --port "$port" --bind 127.0.0.1 --dir "$state/$port" --save '' --appendonly no --daemonize no "$@" \
    >"$state/$port/log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$state/$port/pid"
  if ! wait_for 10 up_or_ended "$port" "$pid" || ! ours "$pid"; then
    local why
    why=$(tail -n 1 "$state/$port/log")
    stop_one "$state/$port"
    die "$server on 127.0.0.1:$port did not start: $why"
  fi
}

# stop_one FOLDER ends the server of that folder and removes the folder.
stop_one() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || pid=
  if [[ -n $pid ]] && ours "$pid"; then
    kill "$pid"
    wait_for 10 ended "$pid" || kill -9 "$pid"
  fi
  rm -rf "$1"
}

# started lists the folders of the servers that were started.
started() { find "$state" -mindepth 2 -maxdepth 2 -name pid -exec dirname {} \; 2>/dev/null | sort; }

docker_runs() { command -v docker >/dev/null && [[ -n $(docker ps -q --filter "name=^$container\$" 2>/dev/null) ]]; }

start() {
  if [[ $docker == yes ]]; then
    docker run --rm -d --name "$container" -p "127.0.0.1:$port:6379" "$image" redis-server --save '' --appendonly no >/dev/null ||
      die "docker could not run $image (is its daemon running? is 127.0.0.1:$port free?)"
  else
    launch "$port"
  fi
  echo "REDIS_URL=redis://127.0.0.1:$port/0"
}

cluster() {
  [[ $docker == no ]] || die "--docker goes with start only" 2
  local nodes=() p
  for ((p = port; p < port + 6; p++)); do
    launch "$p" --cluster-enabled yes --cluster-node-timeout 2000
    nodes+=("127.0.0.1:$p")
  done
  cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$state/$port/create.log" 2>&1 ||
    die "the nodes run but could not be joined: $(tail -n 1 "$state/$port/create.log") (scripts/redis.sh stop, then try again)"
  for ((p = port; p < port + 6; p++)); do
    wait_for 20 joined "$p" || die "node 127.0.0.1:$p did not join the cluster in 20 s (see $state/$p/log)"
  done
  echo "nodes: ${nodes[*]}"
}

status() {
  local folder p running=0
  while read -r folder; do
    p=$(basename "$folder")
    if answers "$p"; then
      running=1
      echo "127.0.0.1:$p pid $(cat "$folder/pid") redis $(cli -p "$p" info server | sed -n 's/^redis_version:\([0-9.]*\).*/\1/p'), $(cli -p "$p" info replication | sed -n 's/^role:\([a-z]*\).*/\1/p')"
    else
      echo "127.0.0.1:$p does not answer (see $folder/log)"
    fi
  done < <(started)
  if docker_runs; then
    running=1
    echo "docker container $container: $(docker port "$container")"
  fi
  ((running)) || echo 'nothing runs'
}

stop() {
  local folder
  while read -r folder; do stop_one "$folder"; done < <(started)
  rmdir "$state" 2>/dev/null || true # still there when it holds what is not ours
  if docker_runs; then docker stop "$container" >/dev/null; fi
}

command=${1:-}
[[ $# -gt 0 ]] && shift
port=
docker=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --port) port=${2:?--port needs a number}; shift 2 ;;
    --docker) docker=yes; shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; die "unknown argument \"$1\"" 2 ;;
  esac
done
case $command in
  start) port=${port:-6379} ;;
  cluster) port=${port:-7001} ;;
  stop | status) ;;
  -h | --help) usage; exit ;;
  *) usage >&2; die "unknown command \"$command\" (want start, stop, status or cluster)" 2 ;;
esac
if [[ -n $port && ! $port =~ ^[0-9]{1,5}$ ]]; then die "port \"$port\" is not a number" 2; fi
"$command"
