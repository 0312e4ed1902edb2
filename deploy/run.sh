#!/usr/bin/env bash
# Shows Heddle at work. Usage: deploy/run.sh [--keep]
# Installs what is missing (Debian 12, as root), builds, starts heddled in a temporary directory and
# lets C++, a shell and gRPC work on one queue, with a kill -9 of a consumer and of the broker. Each
# command is printed before its output. --keep leaves the daemon running and says how to reach it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

keep=0
while (($#)); do
  case $1 in
    --keep) keep=1 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done

say() { printf '\n== %s\n' "$*"; }
# Prints the command as it could be typed, then runs it.
show() { printf '$ %s\n' "$*"; eval "$@"; }

build() {
  local log=build/release/build.log
  mkdir -p build/release
  say "building (the log is $log)"
  if ! { cmake --preset release -DHEDDLE_BUILD_TESTS=OFF &&
    cmake --build --preset release --parallel "$(nproc)"; } >"$log" 2>&1; then
    grep -nE -A12 'FAILED|error:|Error' "$log" | head -n 60 || tail -n 60 "$log"
    echo "the build failed; the whole log is $log" >&2
    exit 1
  fi
}

# HEDDLE_BUILD_DIR names a finished build to use as it is.
if [[ -z ${HEDDLE_BUILD_DIR:-} ]]; then
  install_packages deploy/packages.txt
  build
  HEDDLE_BUILD_DIR=$PWD/build/release
fi
directory=$(mktemp -d /tmp/heddle-run.XXXXXX)
export PATH=$HEDDLE_BUILD_DIR/bin:$HEDDLE_BUILD_DIR/examples:$PATH
export HEDDLE_RUNTIME_DIR=$directory/run HEDDLE_STATE_DIR=$directory/state
unset HEDDLE_ADDRESS HEDDLE_PLANE
daemon=0 consumer=0

finish() {
  local status=$?
  ((consumer)) && kill -9 "$consumer" 2>/dev/null || true
  if ((keep && status == 0)); then
    say "heddled goes on; to reach it, and to end it:"
    echo "export HEDDLE_RUNTIME_DIR=$HEDDLE_RUNTIME_DIR PATH=$HEDDLE_BUILD_DIR/bin:\$PATH"
    echo "kill $daemon && rm -rf $directory"
    return
  fi
  if ((daemon)); then
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" || true
  fi
  ((status == 0)) || { echo "--- log of heddled"; cat "$directory/log"; } >&2
  rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_daemon() {
  say "the daemon, in a directory of its own"
  echo "\$ heddled --foreground --runtime-dir $HEDDLE_RUNTIME_DIR &"
  heddled --foreground --runtime-dir "$HEDDLE_RUNTIME_DIR" --state-dir "$HEDDLE_STATE_DIR" \
    >"$directory/log" 2>&1 &
  daemon=$!
  for ((i = 0; i < 200; i++)); do
    if heddle ping --quiet 2>/dev/null; then break; fi
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.05
  done
  show heddle ping
  show heddle status
}

# The value of a key of a document on stdin.
value() { grep -o "\"$1\":[0-9]*" | head -n 1 | cut -d: -f2; }

from_cpp_and_shell() {
  say "C++ puts, the shell takes; the shell puts, C++ takes"
  show heddle queue create jobs --max-len 1000
  show example_producer
  show heddle queue get jobs
  show "printf 'resize dog.jpg\nresize fox.jpg\n' | heddle queue put jobs - --lines"
  show heddle queue ls
  show example_consumer
}

from_grpc() {
  say "any language, over gRPC"
  local grpcurl=
  grpcurl=$(command -v grpcurl || true)
  [[ -z $grpcurl && -x $HEDDLE_BUILD_DIR/tools/grpcurl ]] &&
    grpcurl=$HEDDLE_BUILD_DIR/tools/grpcurl
  if [[ -z $grpcurl ]] && command -v go >/dev/null; then
    mkdir -p "$HEDDLE_BUILD_DIR/tools"
    if GOBIN=$HEDDLE_BUILD_DIR/tools timeout 240 go install \
      github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.1 >"$directory/go.log" 2>&1; then
      grpcurl=$HEDDLE_BUILD_DIR/tools/grpcurl
    fi
  fi
  if [[ -n $grpcurl ]]; then
    local call="$grpcurl -plaintext -unix -authority localhost"
    show "$call -d '{\"name\":\"jobs\",\"message\":{\"text\":\"from grpcurl\"}}'" \
      "$HEDDLE_RUNTIME_DIR/grpc.sock heddle.v1.QueueService/Put"
    show heddle queue get jobs
    show heddle queue put jobs "'from the shell'"
    show "$call -d '{\"name\":\"jobs\",\"timeout_ms\":1000}'" \
      "$HEDDLE_RUNTIME_DIR/grpc.sock heddle.v1.QueueService/Get"
    return
  fi
  echo "SKIPPED grpcurl: it is not installed and could not be built; the same calls from Python"
  local python=${HEDDLE_PYTHON:-/usr/bin/python3}
  "$python" -c 'import grpc, google.protobuf' 2>/dev/null ||
    install_packages <(echo python3-grpcio; echo python3-protobuf)
  show "$python" deploy/grpc_calls.py put jobs "'from Python'"
  show heddle queue get jobs
  show heddle queue put jobs "'from the shell'"
  show "$python" deploy/grpc_calls.py get jobs
}

kill_a_consumer() {
  say "a consumer dies with a message in its hands"
  show heddle queue put jobs "'resize owl.jpg'"
  echo '$ heddle queue work jobs --quiet -- sleep 60 &'
  heddle queue work jobs --quiet -- sleep 60 &
  consumer=$!
  for ((i = 0; i < 200; i++)); do
    [[ $(heddle queue info jobs --json | value leased) == 1 ]] && break
    sleep 0.05
  done
  show heddle queue who jobs
  show kill -9 "$consumer"
  { wait "$consumer" || true; } 2>/dev/null
  consumer=0
  show heddle queue get jobs --timeout 10s --json
}

kill_the_broker() {
  say "the broker dies; what is in the queue does not"
  local before after broker
  show "seq 1000 | heddle queue put jobs - --lines"
  broker=$(heddle status --json | value broker_pid)
  show kill -9 "$broker"
  for ((i = 0; i < 200; i++)); do
    after=$(heddle status --json 2>/dev/null | value broker_pid || true)
    [[ -n $after && $after != "$broker" ]] && break
    sleep 0.05
  done
  show heddle status
  before=$(seq 1000 | cksum)
  echo '$ heddle queue get jobs -n 1000 --timeout 10s | cksum; seq 1000 | cksum'
  after=$(heddle queue get jobs -n 1000 --timeout 10s | cksum)
  printf '%s\n%s\n' "$after" "$before"
  if [[ $after != "$before" ]]; then
    echo "messages were lost" >&2
    exit 1
  fi
  echo "All 1000 messages are there, in order."
}

start_daemon
from_cpp_and_shell
from_grpc
kill_a_consumer
kill_the_broker
say "done: nothing was lost"
